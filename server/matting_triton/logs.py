# SPDX-License-Identifier: Apache-2.0
"""Reading what Triton says: passing it on, keeping its last words, and finding the models that did not load."""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable

LogCallable = Callable[[str], None]

_TAIL_LINES = 30
# As model_lifecycle.cc and model_repository_manager.cc of Triton 2.51 word them. A configuration that cannot be parsed
# is explained by protobuf's own line just before.
_FAILED = re.compile(r"""failed to load '(?P<name>[^']+)' version -?\d+: (?P<reason>.*)""")
_POLL_FAILED = re.compile(r"""Poll failed for model directory '(?P<name>[^']+)': (?P<reason>.*)""")
_LOADED = re.compile(r"""successfully loaded '(?P<name>[^']+)'""")
_PARSE_ERROR = re.compile(r"""Error parsing text-format inference\.ModelConfig: (?P<reason>.*)""")


class LoadReports:
    """The models that did not load, learned from the lines of a log. No thread, no I/O."""

    def __init__(self) -> None:
        self._failures: dict[str, str] = {}
        self._parse_error = ""

    @property
    def failures(self) -> dict[str, str]:
        """Reason by name of each model that did not load and has not been loaded since."""
        return dict(self._failures)

    def take(self, line: str) -> None:
        """Learn from one line."""
        if found := _PARSE_ERROR.search(line):
            self._parse_error = found["reason"]
        elif found := _POLL_FAILED.search(line):
            reason = _tidy(found["reason"])
            if self._parse_error:
                reason = f"{reason}: {self._parse_error}"
            self._failures[found["name"]] = reason
            self._parse_error = ""
        elif found := _FAILED.search(line):
            self._failures[found["name"]] = _tidy(found["reason"])
        elif found := _LOADED.search(line):
            self._failures.pop(found["name"], None)


def _tidy(reason: str) -> str:
    """Undo the log's escapes; leave out Python's stack and the class names before the message."""
    plain = reason.removesuffix('"').replace("\\n", "\n").replace('\\"', '"')
    message = " ".join(plain.split("\n\nAt:\n", 1)[0].split())
    return re.sub(r"^(Internal: )?(SettingsError: )?", "", message)


class LogFollower:
    """Follows one Triton's output on a thread of its own until it ends.

    Owns the tail of the output and the reports on models; both are changed by that thread only.

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
        self._reports = LoadReports()
        self._thread = threading.Thread(target=self._follow, name="triton-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        return tuple(self._tail)

    @property
    def failures(self) -> dict[str, str]:
        """Reason by name of each model that did not load."""
        return self._reports.failures

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
        self._reports.take(line)
        if self._log is not None:
            try:
                self._log(line)
            except Exception:  # noqa: BLE001 -- whatever a foreign callable raises, Triton's pipe must be emptied
                self._log = None
