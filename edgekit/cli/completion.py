"""What a shell completes after Tab: files, targets, precisions, devices (docs/command-line.md)."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

# Nothing is checked by the type: each reader says what is wrong better than it could.
PATH = click.Path(readable=False)


def complete_targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names, and files: a target of one's own is a TOML."""
    from edgekit.target import targets

    items = [CompletionItem(t.name, help=t.about) for t in targets().values()]
    return _beginning(items, incomplete) or PATH.shell_complete(context, parameter, incomplete)


def complete_precisions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The precisions of the targets named so far."""
    from edgekit.target import targets

    known = targets()
    selected = [known[n] for n in context.params.get("targets") or ("cpu",) if n in known]
    names = [p for t in selected for p in (*t.precisions, *(p for s in t.tasks.values() for p in s.precisions))]
    return _beginning([CompletionItem(p) for p in dict.fromkeys(names)], incomplete)


def complete_devices(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return _beginning([CompletionItem(d) for d in ("local", "sim:htp", "aihub:")], incomplete)


def _beginning(items: list[CompletionItem], incomplete: str) -> list[CompletionItem]:
    return [i for i in items if i.value.startswith(incomplete)]
