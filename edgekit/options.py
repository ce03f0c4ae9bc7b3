"""Options of tasks and backends: the command line, its help, the Python API and all checks are made from one table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgekit.errors import UsageError
from edgekit.spec.values import Precision

OptionValue = str | int | float | bool
Values = Mapping[str, OptionValue]


@dataclass(frozen=True)
class Option:
    """One thing that may be said of a conversion, by its name in Python; the flag has dashes for underscores.

    use: what looks at it: `reading` the source, `data` that is given, `compiling` in a backend that lists it, or
    `judging` the package.
    needs: another argument without which it says nothing. packages: those it changes, in words.
    """

    name: str
    help: str
    use: Literal["reading", "data", "compiling", "judging"]
    kind: type[OptionValue] = str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    default: OptionValue | None = None
    metavar: str = ""
    file: bool = False
    needs: str = ""
    packages: str = ""
    precisions: tuple[Precision, ...] = tuple(Precision)
    simulated: bool = False  # whether it is for packages that run in a simulator, or at a service

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def parse(self, value: object) -> OptionValue:
        """`value` as the option takes it, text converted to numbers. Raises UsageError for what means nothing."""
        parsed = self._converted(value)
        if parsed is None or (self.choices and str(parsed) not in self.choices):
            raise self._meaningless(value)
        if self.kind in (int, float):
            number = float(parsed)
            low, high = self.minimum, self.maximum
            if not math.isfinite(number) or (low is not None and number < low) or (high is not None and number > high):
                raise self._meaningless(value)
        return parsed

    def _converted(self, value: object) -> OptionValue | None:
        """None for what is not of the option's kind."""
        if self.kind is bool:
            return {"yes": True, "True": True, "": False, "False": False}.get(str(value))
        if isinstance(value, bool) or value is None:
            return None
        try:
            return self.kind(str(value))
        except ValueError:
            return None

    def _meaningless(self, value: object) -> UsageError:
        what = "is not known" if self.choices else "means nothing"
        return UsageError(f"{self.flag} {value} {what}", "", f"use {self.range}")

    @property
    def range(self) -> str:
        """What it takes, in words."""
        if self.choices:
            return " or ".join(self.choices)
        if self.kind is bool:
            return "True or False"
        kind = {int: "a whole number", float: "a number"}.get(self.kind, "text")
        low = f"{self.minimum:g}" if self.minimum is not None else ""
        high = f"{self.maximum:g}" if self.maximum is not None else ""
        if low and high:
            return f"{kind} from {low} to {high}"
        return f"{kind} from {low}" if low else f"{kind} up to {high}" if high else kind


def whole(values: Values, name: str, default: int) -> int:
    """The whole number of that name, or the default. For options whose kind is int."""
    return int(values.get(name, default))


def text(values: Values, name: str, default: str = "") -> str:
    """The text of that name, or the default. For options whose kind is str."""
    return str(values.get(name, default))
