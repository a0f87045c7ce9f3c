# SPDX-License-Identifier: Apache-2.0
"""Values of options as users give them: from a text, or of the types that a configuration file has."""

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

E = TypeVar("E", bound=Enum)

_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
_FROM_TEXT: dict[type, Callable[[str], Any]] = {int: int, float: float, bool: lambda text: _WORDS[text.strip().lower()]}
# What a value may be of in Python, and how it is asked for.
KINDS: dict[type, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str,), "a text"),
    Path: ((str, Path), "a path"),
}


def read_value(kind: type, given: Any) -> Any:
    """Return a value of that kind.

    Raises:
        ValueError: It is of another; the text says of which it should be.
    """
    kinds, words = KINDS[kind]
    convert = _FROM_TEXT.get(kind)
    if isinstance(given, str) and convert is not None:
        try:
            return convert(given)
        except (ValueError, KeyError):
            raise ValueError(f"expected {words}, not {given!r}") from None
    if not isinstance(given, kinds) or (isinstance(given, bool) and kind is not bool):
        raise ValueError(f"expected {words}, not {given!r}")
    return kind(given)


def read_values(given: Any) -> tuple[str, ...]:
    """Return the texts of an option that can be given several times.

    Raises:
        ValueError: It is neither a text nor a list of texts.
    """
    listed = (given,) if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or not all(isinstance(item, str) for item in listed):
        raise ValueError(f"expected a text or a list of texts, not {given!r}")
    return tuple(listed)


def one_of(kind: type[E]) -> Callable[[str], E]:
    """Return what makes one of an enumeration's values from its text, or raises ValueError and names them."""

    def convert(text: str) -> E:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"expected one of {', '.join(k.value for k in kind)}, not {text!r}") from None

    return convert


def address_problem(address: str, *, least_port: int, unix: bool = True) -> str:
    """Return what is wrong with an address as a text, or ""."""
    wanted = f"expected HOST:PORT, [IPV6]:PORT{' or unix:PATH' if unix else ''}"
    if address.startswith("unix:"):
        return "" if unix and address != "unix:" else f"{address!r} is no address here: {wanted}"
    host, colon, port = address.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not colon or not port.isdecimal() or not least_port <= int(port) < 1 << 16 or not bare:
        return f"{address!r} is no address: {wanted}"
    if ":" in bare and bare == host:
        return f"{address!r}: write an IPv6 address in brackets, as in [::1]:{port}"
    return ""
