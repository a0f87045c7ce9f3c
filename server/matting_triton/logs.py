# SPDX-License-Identifier: Apache-2.0
"""Reading what Triton says: passing it on, keeping its last words, and finding the models that did not load."""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable

LogCallable = Callable[[str], None]

_TAIL_LINES = 30
# "failed to load 'NAME' version 1: Internal: ..." (model_lifecycle.cc), "Poll failed for model directory 'NAME': ..."
# and "failed to load model 'NAME': ..." (model_repository_manager.cc).
_FAILURES = (
    re.compile(r"""failed to load '(?P<name>[^']+)' version (?P<version>-?\d+): (?P<reason>.*)"""),
    re.compile(r"""Poll failed for model directory '(?P<name>[^']+)': (?P<reason>.*)"""),
    re.compile(r"""failed to load model '(?P<name>[^']+)': (?P<reason>.*)"""),
)


def find_failure(line: str) -> tuple[str, str] | None:
    """Return name and reason if the line tells of a model that did not load."""
    for pattern in _FAILURES:
        if found := pattern.search(line):
            return found["name"], found["reason"].strip().strip('"')
    return None


class LogFollower:
    """Follows one Triton's output on a thread of its own until it ends.

    Owns the tail of the output and the table of failed models; both are written by that thread only.

    Args:
        lines: The output; the end of it ends the thread.
        log: Gets each line. If it raises, it gets no more of them: Triton must not wait for a reader.
        on_end: Called on the thread when the output has ended.
    """

    def __init__(self, lines: Iterable[str], log: LogCallable | None, on_end: Callable[[], None]) -> None:
        self._lines = lines
        self._log = log
        self._on_end = on_end
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._failures: dict[str, str] = {}
        self._thread = threading.Thread(target=self._follow, name="triton-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    @property
    def tail(self) -> tuple[str, ...]:
        return tuple(self._tail)

    @property
    def failures(self) -> dict[str, str]:
        """Reason by name of each model that did not load."""
        return dict(self._failures)

    def _follow(self) -> None:
        try:
            for line in self._lines:
                self._take(line.rstrip("\n"))
        except ValueError:
            pass  # the stream was closed under the reader
        finally:
            self._on_end()

    def _take(self, line: str) -> None:
        self._tail.append(line)
        if failure := find_failure(line):
            self._failures[failure[0]] = failure[1]
        if self._log is not None:
            try:
                self._log(line)
            except Exception:  # noqa: BLE001 -- whatever a foreign callable raises, Triton's pipe must be emptied
                self._log = None
