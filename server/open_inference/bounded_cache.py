# SPDX-License-Identifier: Apache-2.0
"""A bounded memory of what can be made again."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedCache(dict[K, V]):
    """A dict that is emptied before it would hold more than `max_count` keys.

    Looking up costs what it does in any dict; entries are put in by `cache[key] = value` alone.
    """

    def __init__(self, max_count: int = 256) -> None:
        super().__init__()
        self._max_count = max_count

    def __setitem__(self, key: K, value: V) -> None:
        if len(self) >= self._max_count:
            self.clear()
        super().__setitem__(key, value)
