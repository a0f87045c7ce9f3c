# SPDX-License-Identifier: Apache-2.0
"""Photos read and results written: files, pipes, devices, standard input and output."""

import errno
import os
import stat
import tempfile
from pathlib import Path

_STDIN, _STDOUT = 0, 1


def read_photo(source: Path | None) -> bytes:
    """Read a photo; None is standard input. Blocks for as long as a pipe has no more to give.

    Raises:
        OSError: It cannot be read.
    """
    with open(_STDIN if source is None else source, "rb", buffering=0, closefd=source is not None) as file:
        return file.readall()


def write_result(target: Path | None, content: bytes, *, overwrite: bool) -> None:
    """Write a result to wherever a path leads: a file through links, a pipe, a device; None is standard output.

    A file is either the old one or the new one, never half of it; only one that has several names is written in place,
    so that all of them hold the result.

    Raises:
        FileExistsError: It is there, holds something, and may not be overwritten.
        OSError: It cannot be written.
    """
    if target is None:
        _write_all(_STDOUT, content)
        return
    try:
        status = target.stat()
    except FileNotFoundError:
        status = None
    path = Path(os.path.realpath(target))
    if status is None:
        _write_atomically(path, content, _mode_of_new_files(), overwrite)
        return
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        # An empty file is what `mktemp` leaves, and nothing is lost with it.
        _write_atomically(path, content, stat.S_IMODE(status.st_mode), overwrite or status.st_size == 0)
        return
    if stat.S_ISREG(status.st_mode) and status.st_size and not overwrite:
        raise _is_there(target)
    flags = os.O_WRONLY | (os.O_TRUNC if stat.S_ISREG(status.st_mode) else 0)
    descriptor = os.open(target, flags)
    try:
        _write_all(descriptor, content)
    finally:
        os.close(descriptor)


def waits_for_others(path: Path | None) -> bool:
    """Whether reading or writing may have to wait for another program: a pipe, a device, standard input or output."""
    return path is None or (path.exists() and not path.is_file())


def _write_atomically(path: Path, content: bytes, mode: int, overwrite: bool) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".matting-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        temporary.chmod(mode)  # mkstemp makes files for their owner only
        if overwrite:
            temporary.replace(path)
        else:
            _put_where_nothing_is(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _mode_of_new_files() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def _put_where_nothing_is(temporary: Path, path: Path) -> None:
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise _is_there(path) from None
    except OSError:  # a file system without hard links: what comes between looking and renaming is replaced
        if os.path.lexists(path):
            raise _is_there(path) from None
        temporary.replace(path)
    else:
        temporary.unlink()


def _is_there(path: Path) -> FileExistsError:
    return FileExistsError(errno.EEXIST, "it is there by now, and --overwrite was not given", str(path))


def _write_all(descriptor: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
