# SPDX-License-Identifier: Apache-2.0
"""What can go wrong when Triton is installed, started and run on this machine."""

from collections.abc import Mapping, Sequence


class LocalTritonError(Exception):
    """Base of everything this package raises on purpose. The message says what to do."""


class PlatformUnsupportedError(LocalTritonError):
    """The packaged Triton runs on Linux x86-64 with CPython 3.11 or 3.12 only."""


class GlibcTooOldError(LocalTritonError):
    """The C library of this machine is older than the one Triton was built against."""


class LibpythonMissingError(LocalTritonError):
    """This Python comes without the shared library that Triton's Python backend needs."""


class InstallError(LocalTritonError):
    """The runtime could not be downloaded or put together."""


class RepositoryMissingError(LocalTritonError):
    """There is no model repository at the path given."""


class PortTakenError(LocalTritonError):
    """Another program listens on the port that was asked for."""


class TritonStartError(LocalTritonError):
    """Triton ended, or was not ready in time.

    Args:
        message: What happened.
        log_tail: The last lines Triton wrote, oldest first; they become part of the text.
    """

    def __init__(self, message: str, *, log_tail: Sequence[str] = ()) -> None:
        shown = "".join(f"\n  {line}" for line in log_tail)
        super().__init__(f"{message} Its last words:{shown}" if shown else message)
        self.what = message
        self.log_tail = tuple(log_tail)


class ModelLoadError(LocalTritonError):
    """One or more models of the repository did not load.

    Args:
        failures: Reason by model name.
    """

    def __init__(self, failures: Mapping[str, str]) -> None:
        listed = "; ".join(f"{name}: {reason}" for name, reason in sorted(failures.items()))
        super().__init__(f"Triton could not load {listed}")
        self.failures = dict(failures)
