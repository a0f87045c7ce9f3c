# SPDX-License-Identifier: Apache-2.0
"""Reading what Triton says: passing it on, keeping its last words, and finding the models that did not load.

It is also redacted here for whoever keeps logs. Until Triton opens its port nobody can have sent it a tensor, so
that what it says until then holds none: it lists its options (tritonserver.cc, main) after it has loaded every model
and before it opens any port. Afterwards a line could quote what a model choked on, and only its severity and place are
passed on, but for lines that always read the same.
"""

import re
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum

LogCallable = Callable[[str], None]
LogLineCallable = Callable[["LogLine"], None]

_TAIL_LINES = 30
# As model_lifecycle.cc and model_repository_manager.cc of Triton 2.51 word them. A configuration that cannot be parsed
# is explained by protobuf's own line just before.
_FAILED = re.compile(r"""failed to load '(?P<name>[^']+)' version -?\d+: (?P<reason>.*)""")
_POLL_FAILED = re.compile(r"""Poll failed for model directory '(?P<name>[^']+)': (?P<reason>.*)""")
_LOADED = re.compile(r"""successfully loaded '(?P<name>[^']+)'""")
_PARSE_ERROR = re.compile(r"""Error parsing text-format inference\.ModelConfig: (?P<reason>.*)""")


_LINE = re.compile(r"(?P<severity>[IWEF])\d{4} [\d:.]+ \d+ (?P<place>[\w.]+:\d+)\] ?(?P<words>.*)")
_OPTIONS_PLACE = "tritonserver.cc:"
_NO_GPU = "no GPU is used: "
# Lines with constant text, as Triton 2.51 words them, and the severity they are passed on with.
KNOWN_WORDS = {
    "CudaDriverHelper has not been initialized.": ("info", _NO_GPU),
    "Unable to allocate pinned system memory, pinned memory pool will not be available: CUDA driver version is"
    " insufficient for CUDA runtime version": ("info", _NO_GPU),
    "Unable to allocate pinned system memory, pinned memory pool will not be available: no CUDA-capable device is"
    " detected": ("info", _NO_GPU),
    # A line of its own names each model that failed, and why.
    "Internal: failed to load all models": ("warning", ""),
}


class Severity(Enum):
    """How bad a line is."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


_SEVERITIES = {"I": Severity.INFO, "W": Severity.WARNING, "E": Severity.ERROR, "F": Severity.FATAL}


@dataclass(frozen=True, slots=True)
class LogLine:
    """A redacted line: no tensor's content is in it. `words` are Triton's own, "" where they could hold any."""

    severity: Severity
    place: str
    words: str

    @property
    def is_notable(self) -> bool:
        """Whether it is worth a log line: Triton writes many of its lowest severity, of which only known ones are."""
        return self.severity is not Severity.INFO or bool(self.words)


class LogRedactor:
    """Redacts the lines of one Triton process, from its first. No thread, no I/O.

    Owns whether anybody can have sent it a tensor. Invariant: once that is so it stays so.
    """

    def __init__(self) -> None:
        self.reachable = False

    def redact(self, line: str) -> LogLine | None:
        """Return a line without what could be a tensor's, or None where it is no line of the log's own form."""
        found = _LINE.match(line)
        if found is None:
            return None
        severity, place = _SEVERITIES[found["severity"]], found["place"]
        self.reachable = self.reachable or place.startswith(_OPTIONS_PLACE)
        if severity is Severity.INFO:
            return LogLine(severity, place, "")
        words = found["words"].removeprefix('"').removesuffix('"')
        known = KNOWN_WORDS.get(words)
        if known is not None:
            return LogLine(Severity(known[0]), place, known[1] + words)
        return LogLine(severity, place, "" if self.reachable else _tidy(words))


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

    Owns the tail of the output, the reports on models and the redactor; all are changed by that thread only.

    Args:
        lines: The output; the end of it ends the thread.
        log: Gets each line. If it raises, it gets no more of them: Triton must not wait for a reader.
        on_end: Called on the thread when the output has ended.
        tell: Gets the notable lines, redacted, as `log` gets all lines whole.
    """

    def __init__(
        self,
        lines: Iterable[str],
        log: LogCallable | None,
        on_end: Callable[[], None],
        tell: LogLineCallable | None = None,
    ) -> None:
        self._lines = lines
        self._log = log
        self._tell = tell
        self._redactor = LogRedactor()
        self._last_redacted = ""
        self._on_end = on_end
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._reports = LoadReports()
        self._loaded = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="triton-log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def wait_loaded(self, timeout_s: float) -> None:
        """Wait until all that Triton says of loading its models has been read."""
        self._loaded.wait(timeout_s)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines, oldest first."""
        return tuple(self._tail)

    @property
    def last_words(self) -> str:
        """Its last words where no tensor can be in them, or how bad its last line was and where it came from."""
        if not self._redactor.reachable:
            return "\n".join(self._tail)
        return self._last_redacted

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
        redacted = self._redactor.redact(line)
        if self._redactor.reachable:
            self._loaded.set()
        if redacted is not None:
            self._last_redacted = f"{redacted.severity.value} at {redacted.place}"
            if self._tell is not None and redacted.is_notable:
                self._tell(redacted)
        if self._log is not None:
            try:
                self._log(line)
            except Exception:  # noqa: BLE001 -- whatever a foreign callable raises, Triton's pipe must be emptied
                self._log = None
