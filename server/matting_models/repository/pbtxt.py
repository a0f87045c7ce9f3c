# SPDX-License-Identifier: Apache-2.0
"""Reads protobuf's text format without a schema: enough for `config.pbtxt`.

https://protobuf.dev/reference/protobuf/textformat-spec/
"""

import json
import re
from typing import TypeAlias

from matting_models.errors import ConfigBrokenError

# A message: every field is a list of its values, in order; numbers, names and true/false stay text.
Message: TypeAlias = dict[str, list["Value"]]
Value: TypeAlias = "str | Message"

_TOKEN = re.compile(
    r"""\s+|\#[^\n]*                                    # blanks and comments
    |(?P<string>"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')
    |(?P<word>[A-Za-z_][\w.]*|[-+]?[\d.][\w.+-]*|-[A-Za-z]+)
    |(?P<sign>[{}<>\[\]:,;])""",
    re.VERBOSE,
)
_CLOSING = {"{": "}", "<": ">"}
_DEEPEST = 32


def parse(text: str) -> Message:
    """The message a text describes.

    Raises:
        ConfigBrokenError: it is no text format; the message names the line.
    """
    return _Parser(text).message("", 0)


class _Parser:
    """State: the tokens with their lines, and which is next."""

    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._next = 0

    def message(self, closing: str, depth: int) -> Message:
        if depth > _DEEPEST:
            raise self._broken("messages nested too deep")
        fields: Message = {}
        while self._peek() != closing:
            name = self._take()
            if not re.fullmatch(r"[A-Za-z_][\w.]*", name):
                raise self._broken(f"a field name expected, found {name or 'the end'!r}")
            has_colon = self._skip(":")
            fields.setdefault(name, []).extend(self._values(depth, needs_message=not has_colon))
            if not self._skip(","):
                self._skip(";")
        self._take()
        return fields

    def _values(self, depth: int, *, needs_message: bool) -> list[Value]:
        if not self._skip("["):
            return [self._value(depth, needs_message=needs_message)]
        values: list[Value] = []
        while not self._skip("]"):
            values.append(self._value(depth, needs_message=False))
            if self._peek() != "]" and not self._skip(","):
                raise self._broken("',' or ']' expected")
        return values

    def _value(self, depth: int, *, needs_message: bool) -> Value:
        token = self._take()
        if token in _CLOSING:
            return self.message(_CLOSING[token], depth + 1)
        if needs_message or token in ("", *"}>]:,;"):
            raise self._broken(f"a value expected, found {token or 'the end'!r}")
        if token[0] not in "\"'":
            return token
        text = _unquoted(token)
        while self._peek()[:1] in ("'", '"') and self._peek():
            text += _unquoted(self._take())
        return text

    def _peek(self) -> str:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _skip(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self._next += 1
        return True

    def _broken(self, what: str) -> ConfigBrokenError:
        index = min(self._next, len(self._tokens)) - 1
        line = self._tokens[index][1] if index >= 0 else 1
        return ConfigBrokenError(f"line {line}: {what}")


def _tokens(text: str) -> list[tuple[str, int]]:
    tokens = []
    position, line = 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ConfigBrokenError(f"line {line}: {text[position]!r} is not text format")
        if match.lastgroup:
            tokens.append((match.group(), line))
        line += match.group().count("\n")
        position = match.end()
    return tokens


def _unquoted(token: str) -> str:
    if token[0] == "'":
        token = '"' + token[1:-1].replace('"', '\\"').replace("\\'", "'") + '"'
    try:
        return str(json.loads(token))
    except ValueError as exc:
        raise ConfigBrokenError(f"the string {token} has an escape that is not supported") from exc
