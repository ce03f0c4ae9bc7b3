"""Renders a chat template as transformers does, for `tokenizers`: `python -P -m edgekit.tasks.text.template_child`.

A stranger's template may loop for ever or fill memory, in the reference as on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekit.system.child import answer

_MEMORY, _SECONDS = 1024 * 2**20, 60.0  # the parent waits less


def main() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    def handle(question: dict[str, Any]) -> Iterator[list[str | None]]:
        texts: list[str | None] = []
        for talk in question["talks"]:
            try:
                rendered, _ = render_jinja_template(
                    conversations=[talk],
                    chat_template=question["template"],
                    add_generation_prompt=True,
                    **question["special"],
                )
                texts.append(rendered[0])
            except Exception:  # a template may refuse a conversation, a system message above all
                texts.append(None)
        yield texts

    answer(handle, _MEMORY, _SECONDS)


if __name__ == "__main__":
    main()
