# SPDX-License-Identifier: Apache-2.0
"""Certificate and token files, read again when they change on disk.

Nothing waits for a change: whoever needs the value asks for it, and the files' status is looked
at no more than once an interval. A change that cannot be read leaves the old value in force.
"""

import ssl
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from matting_gateway.clock import Clock

T = TypeVar("T")

_Fingerprint = tuple[tuple[int, int, int, int], ...]
# A writer that never rests would otherwise hold us in the loop that waits for a quiet moment.
_READ_ATTEMPT_COUNT = 3


class WatchedFileError(ValueError):
    """A file cannot be read, or does not hold what it should. Says which, never what is in it."""


@dataclass(frozen=True, slots=True)
class ReloadReport:
    """One change seen on disk: taken over, or refused because of `problem`."""

    paths: tuple[Path, ...]
    accepted: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class WatchedFilesStatistics:
    """Changes taken over and refused since the start, and why the last one was refused ("" if it was not)."""

    reload_count: int
    refused_count: int
    last_problem: str


class WatchedFiles(Generic[T]):
    """A value made of files.

    Owns the value, the fingerprint of the files it was made of, and its version. Invariants: the
    value is always one that `load` returned while the files stood still; the version goes up by
    one with each new value, from 1. Thread-safe, because grpc asks for certificates on threads of
    its own.

    Args:
        paths: The files whose change means that the value changes.
        load: Reads them; raises ValueError or OSError where that is not possible.
        clock: Says when an interval is over.
        interval_s: How long a change may go unseen.
        on_reload: Told of every change, taken over or not, on the thread that saw it.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        load: Callable[[], T],
        *,
        clock: Clock,
        interval_s: float = 1.0,
        on_reload: Callable[[ReloadReport], None] | None = None,
    ) -> None:
        self.paths = tuple(paths)
        self._load = load
        self._clock = clock
        self._interval_s = interval_s
        self._on_reload = on_reload
        self._lock = threading.Lock()
        self._value: T | None = None
        self._version = 0
        self._seen: _Fingerprint = ()
        self._next_look_s = float("-inf")
        self._refused_count = 0
        self._last_problem = ""

    def value(self) -> T:
        """Return the value of the files as they are now, or were an interval ago.

        Raises:
            WatchedFileError: The first reading failed. Later ones leave the old value in force.
        """
        with self._lock:
            if self._clock.now() < self._next_look_s and self._value is not None:
                return self._value
            report = self._look()
            self._next_look_s = self._clock.now() + self._interval_s
            value = self._value
        if report is not None and self._on_reload is not None:
            self._on_reload(report)
        if value is None:
            raise WatchedFileError(self._last_problem)
        return value

    def reload(self) -> None:
        """Read the files again now, changed or not. Reported as any change; what cannot be read changes nothing.

        Raises:
            WatchedFileError: They could never be read.
        """
        with self._lock:
            self._seen = ()
            self._next_look_s = float("-inf")
        self.value()

    @property
    def version(self) -> int:
        """The number of the value that `value()` last returned; 0 before the first."""
        return self._version

    def statistics(self) -> WatchedFilesStatistics:
        return WatchedFilesStatistics(max(0, self._version - 1), self._refused_count, self._last_problem)

    def __repr__(self) -> str:
        names = ", ".join(path.name for path in self.paths)
        return f"<WatchedFiles {names}: version {self._version}, {self._refused_count} refused>"

    def _look(self) -> ReloadReport | None:
        """Read the files if they changed. Returns what to report; the first good reading is no news."""
        fingerprint = self._fingerprint()
        if self._value is not None and fingerprint == self._seen:
            return None
        first = self._value is None
        try:
            self._value = self._read_at_rest()
        except (OSError, ValueError) as exc:
            # A file that is not there must be looked for again; one that is bad need not be read again.
            self._seen = fingerprint
            self._refused_count += 1
            self._last_problem = _explain(exc)
            return None if first else ReloadReport(self.paths, accepted=False, problem=self._last_problem)
        self._version += 1
        self._last_problem = ""
        return None if first else ReloadReport(self.paths, accepted=True)

    def _read_at_rest(self) -> T:
        """Read, and read again if somebody wrote meanwhile: a key must fit the certificate beside it."""
        for _ in range(_READ_ATTEMPT_COUNT):
            before = self._fingerprint()
            value = self._load()
            if self._fingerprint() == before:
                self._seen = before
                return value
        raise WatchedFileError(f"{self.paths[0]} is being written to; it is read again later.")

    def _fingerprint(self) -> _Fingerprint:
        return tuple(_fingerprint(path) for path in self.paths)


def _fingerprint(path: Path) -> tuple[int, int, int, int]:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0, 0)
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _explain(exc: OSError | ValueError) -> str:
    if isinstance(exc, OSError) and exc.filename is not None:
        return f"{exc.filename} cannot be read: {exc.strerror}."
    return str(exc)


@dataclass(frozen=True, slots=True, repr=False)
class KeyPair:
    """A certificate chain and its private key, PEM."""

    certificate_chain: bytes
    private_key: bytes


def read_key_pair(certificate_file: Path, key_file: Path) -> KeyPair:
    """Read a certificate chain and its key.

    Raises:
        OSError: A file cannot be read.
        WatchedFileError: Not PEM, encrypted, or the key is another certificate's.
    """
    pair = KeyPair(certificate_file.read_bytes(), key_file.read_bytes())
    try:
        # grpc takes anything and fails at each handshake; OpenSSL checks the two at once.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate_file, key_file, password=_refuse_password)
    except ssl.SSLError as exc:
        raise WatchedFileError(
            f"{certificate_file} and {key_file} are no PEM certificate chain with its unencrypted key"
            f" ({exc.reason or 'unreadable'})."
        ) from exc
    return pair


def read_roots(ca_file: Path) -> bytes:
    """Read the certificates of authorities that are trusted, PEM.

    Raises:
        OSError: The file cannot be read.
        WatchedFileError: There is no certificate in it.
    """
    content = ca_file.read_bytes()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=content.decode("ascii"))
    except (ssl.SSLError, ValueError) as exc:
        raise WatchedFileError(f"{ca_file} holds no PEM certificates of authorities.") from exc
    return content


def _refuse_password() -> str:
    raise WatchedFileError("The private key is encrypted; give it in the clear, readable by the service only.")
