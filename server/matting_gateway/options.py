# SPDX-License-Identifier: Apache-2.0
"""How a setting is given: its field, in the settings of its room, has its flag, and the rest follows from that."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

ENVIRONMENT_PREFIX = "MATTING"
MIB = 1 << 20
OPTION = "option"  # under which a field's metadata have it
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as a user gives it. What comes after `unit` is told by its field.

    Attributes:
        flag: With its dashes.
        help: What `--help` says.
        check: Raises ValueError where a value, in the user's unit, is out of range.
        convert: Turns the given value into the field's, or raises ValueError.
        unit: Multiplies numbers that are given in larger units than the field's.
        path: Of the field of Settings that it fills.
        type: Of a given value.
        multiple: Whether it can be given several times.
        field_default: The field's value where it is not given.
    """

    flag: str
    help: str
    check: Callable[[Any], None] | None = None
    convert: Callable[[Any], Any] | None = None
    unit: int = 1
    path: str = ""
    type: type = str
    multiple: bool = False
    field_default: Any = None

    @property
    def name(self) -> str:
        return self.key.replace("-", "_")

    @property
    def key(self) -> str:
        """What it is called in a configuration file."""
        return self.flag.removeprefix("--")

    @property
    def variable(self) -> str:
        return f"{ENVIRONMENT_PREFIX}_{self.name.upper()}"

    def default(self) -> Any:
        """Return the default as a user would give it."""
        value = self.field_default
        if isinstance(value, frozenset):
            return ",".join(sorted(v.name.lower() for v in value))
        if isinstance(value, Enum):
            return value.value
        return value // self.unit if self.unit > 1 else value


def option(
    default: T,
    flag: str,
    help: str,  # noqa: A002 - what click calls it
    *,
    check: Callable[[Any], None] | None = None,
    convert: Callable[[Any], Any] | None = None,
    unit: int = 1,
) -> T:
    """Return a field of a settings class that a user can give; see `Option`."""
    return field(default=default, metadata={OPTION: Option(flag, help, check, convert, unit)})


def options_within(default: T, **options: Option) -> T:
    """Return a field that is itself settings, of a class that names no flags; `options` are of its fields, by name."""
    return field(default=default, metadata=options)


def above_zero(value: float) -> None:
    """Refuse, by ValueError, a value that means nothing at 0 or below."""
    if not value > 0:
        raise ValueError(f"must be above 0, not {value}")


def not_below_zero(value: float) -> None:
    """Refuse, by ValueError, a value below 0; at 0 there is no such limit."""
    if not value >= 0:
        raise ValueError(f"must be 0 or above, not {value}")
