# SPDX-License-Identifier: Apache-2.0
"""Remembers what small, often repeated bytes were parsed to."""

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

# Of what is remembered.
MAX_HEADER_BYTES = 1024


class HeaderCache(Generic[T]):
    """A bounded memory of parsed headers.

    Owns the table; touched on the event loop only. Invariants: it holds at most `max_count`
    headers of at most `max_bytes` each, and never one that `parse` says not to keep, so that it
    cannot become a place where contents stay behind.
    """

    def __init__(
        self,
        parse: Callable[[bytes], T],
        *,
        keep: Callable[[T], bool],
        max_count: int = 256,
        max_bytes: int = MAX_HEADER_BYTES,
    ) -> None:
        self._parse = parse
        self._keep = keep
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._table: dict[bytes, T] = {}

    def __call__(self, header: bytes) -> T:
        """Return what `header` parses to; whatever `parse` raises passes through."""
        parsed = self._table.get(header)
        if parsed is None:
            parsed = self._parse(header)
            if len(header) <= self._max_bytes and self._keep(parsed):
                if len(self._table) >= self._max_count:
                    self._table.clear()
                self._table[header] = parsed
        return parsed

    def __repr__(self) -> str:
        return f"<HeaderCache of {len(self._table)}>"
