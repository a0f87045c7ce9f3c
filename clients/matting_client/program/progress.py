# SPDX-License-Identifier: Apache-2.0
"""How the programs tell a person how far they are, on standard error."""

import importlib
import sys
from types import TracebackType
from typing import Any, Self, TextIO

from matting_client.program.explaining import plain


class Progress:
    """A progress bar where tqdm is installed, a terminal watches and there is more than one thing to do.

    Messages go around the bar. Owns the bar.
    """

    def __init__(self, bar: Any, stream: TextIO, quiet: bool) -> None:
        self._bar = bar
        self._stream = stream
        self._quiet = quiet

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def advance(self) -> None:
        if self._bar is not None:
            self._bar.update(1)

    def say(self, message: str) -> None:
        """Tell something worth knowing; nothing where quiet was asked for."""
        if not self._quiet:
            self.complain(message)

    def complain(self, message: str) -> None:
        """Tell of a failure."""
        message = plain(message)
        if self._bar is not None:
            self._bar.write(message, file=self._stream)
        else:
            print(message, file=self._stream)  # what a program tells a person


def make_progress(count: int, *, quiet: bool) -> Progress:
    """Make the progress of `count` things."""
    if count < 2 or quiet or not sys.stderr.isatty():
        return Progress(None, sys.stderr, quiet)
    try:
        tqdm = importlib.import_module("tqdm")
    except ImportError:  # the bare install has no bar
        return Progress(None, sys.stderr, quiet)
    return Progress(tqdm.tqdm(total=count, unit="photo", file=sys.stderr, dynamic_ncols=True), sys.stderr, quiet)
