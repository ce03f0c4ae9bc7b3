"""Renders a chat template for `template.Template`: `python -P -m edgekit.runtime.engines.template_child FOLDER`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from edgekit.errors import first_line
from edgekit.runtime.engines.libraries import onnxruntime_genai
from edgekit.system.child import answer
from edgekit.system.documents import JsonObject

_MEMORY, _SECONDS = 512 * 2**20, 30.0  # the parent waits less


def main(folder: str) -> None:
    library = onnxruntime_genai()
    opened: list[Any] = []

    def handle(question: JsonObject) -> Iterator[dict[str, str]]:
        try:
            if not opened:  # within the limits: parsing a template is a part of it
                opened.append(library.Tokenizer(folder))
            text = opened[0].apply_chat_template(
                json.dumps(question["messages"]), add_generation_prompt=question["answering"]
            )
            yield {"text": text}
        except Exception as error:  # the library raises RuntimeError for everything
            yield {"error": first_line(error)}

    answer(handle, _MEMORY, _SECONDS)


if __name__ == "__main__":
    main(sys.argv[1])
