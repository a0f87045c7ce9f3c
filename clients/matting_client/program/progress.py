# SPDX-License-Identifier: Apache-2.0
"""How the programs tell a person how far they are, on standard error."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from matting_client.program.explaining import plain


class Progress:
    """Messages, written above the bar where there is one, and `advance`, to be called for each photo that is done."""

    def __init__(self, advance: Callable[[], None], write: Callable[[str], None], *, quiet: bool) -> None:
        self.advance = advance
        self._write = write
        self._quiet = quiet

    def say(self, message: str) -> None:
        """Tell something worth knowing; nothing where quiet was asked for."""
        if not self._quiet:
            self.complain(message)

    def complain(self, message: str) -> None:
        """Tell of a failure."""
        self._write(plain(message))


@contextmanager
def make_progress(count: int, *, quiet: bool) -> Iterator[Progress]:
    """Show the progress of `count` photos: a bar where rich is installed, a terminal watches and there are several."""
    if count < 2 or quiet or not sys.stderr.isatty() or importlib.util.find_spec("rich") is None:
        yield Progress(lambda: None, lambda message: print(message, file=sys.stderr), quiet=quiet)  # noqa: T201 - a program
        return
    from rich import console, progress  # noqa: PLC0415 - the bare install has no bar

    there = console.Console(stderr=True, markup=False, emoji=False, highlight=False)
    columns = (progress.BarColumn(None), progress.MofNCompleteColumn(), "photos", progress.TimeRemainingColumn())
    # Standard output is for lines of JSON.
    with progress.Progress(*columns, console=there, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("", total=count)
        yield Progress(lambda: bar.advance(task), lambda text: there.print(text, soft_wrap=True), quiet=quiet)
