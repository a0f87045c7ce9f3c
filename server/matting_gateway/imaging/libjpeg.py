# SPDX-License-Identifier: Apache-2.0
"""libjpeg by its own interface (jpeglib.h), in the library that Pillow brings.

Pillow and the others decode pixels; only libjpeg itself hands out the coefficients behind them. With a library of
another interface than that of `libjpeg_structures.py` nothing is written here.

libjpeg leaves its functions after an error by C's longjmp, or by whatever else does not come back. Here it ends the
thread: whatever depends on a file runs in one that has nothing of Python in it.
"""

import ctypes
import functools
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, c_size_t, c_ulong, c_void_p
from typing import TypeVar

import numpy as np
from PIL import _imaging

from matting_gateway.domain import Buffer
from matting_gateway.imaging.libjpeg_structures import (
    BLOCK_COEFFICIENTS,
    VERSION,
    Compressor,
    Decompressor,
    Destination,
    Errors,
    Notice,
    Progress,
    Report,
    Step,
)

_PAGE_BYTES = mmap.PAGESIZE
# An array of blocks lies in one piece up to this size (MAX_ALLOC_CHUNK of jmemmgr.c), its head included.
_PIECE_BYTES = 10**9 - _PAGE_BYTES

_AnyStructure = TypeVar("_AnyStructure", Decompressor, Compressor)

# A symbol is looked up in all that Pillow's module is linked with.
_pillow = ctypes.CDLL(_imaging.__file__)
_system = ctypes.CDLL(None)


def _count(errors: "ctypes._Pointer[ctypes._Pointer[Errors]]") -> None:
    errors.contents.contents.warning_count += 1


def _start_over(writer: "ctypes._Pointer[Compressor]") -> int:
    """Go on where the room begins: the file is lost, but libjpeg comes to its end."""
    destination = writer.contents.destination.contents
    destination.next, destination.free_bytes = destination.room, destination.room_bytes
    destination.is_full = 1
    return 1


def _let_go(writer: "ctypes._Pointer[Compressor]") -> None:
    """Give back the pages of what is written; their coefficients are zeros from now on, and asked for no more."""
    progress = writer.contents.progress.contents
    if progress.passes_before + 1 < progress.pass_count:
        return
    for component in progress.components:
        end = component.begin + component.byte_count * progress.row // progress.row_count
        end -= end % _PAGE_BYTES
        if end > component.held_from:
            size = c_size_t(end - component.held_from)
            _system.madvise(c_void_p(component.held_from), size, mmap.MADV_DONTNEED)
            component.held_from = end


def _finish(writer: "ctypes._Pointer[Compressor]") -> int:
    destination = writer.contents.destination.contents
    destination.file_bytes = 0 if destination.is_full else destination.room_bytes - destination.free_bytes
    return 1


class _Callbacks:
    """What libjpeg calls; made once, before a decoder process enters its sandbox."""

    end_thread = ctypes.cast(_system.pthread_exit, Notice)
    end_process = Notice(lambda _: os._exit(1))
    count = Notice(_count)
    ignore = Notice(lambda _: None)
    begin = Step(lambda _: 1)
    start_over = Step(_start_over)
    finish = Step(_finish)
    let_go = Report(_let_go)


def write_baseline(content: Buffer, room: Buffer) -> int:
    """Write a JPEG of several scans as one of a single scan, with the very same coefficients.

    Ends the process where memory is short for a beginning: to be called where a process may be lost.

    Args:
        content: The file.
        room: Where the new one is written, from its beginning.

    Returns:
        The new file's length. 0 where there is none: the file is damaged, or decoders warn of it, or see that it is
        not complete and make up for that; one scan cannot say the same; the room is too small; or the library has
        another interface.
    """
    if not load():
        return 0
    errors = _new_errors(_Callbacks.end_process)
    with _created(Decompressor, errors) as reader:
        file = np.frombuffer(content, np.uint8)
        _pillow.jpeg_mem_src(ctypes.byref(reader), c_void_p(file.ctypes.data), c_ulong(file.size))
        _run(_pillow.jpeg_consume_input, reader)
        # It fails as well where there is no header.
        coefficients = _run(_pillow.jpeg_read_coefficients, reader)
        if coefficients is None or errors.warning_count or not _is_complete(reader):
            return 0
        return _write(reader, coefficients, room)


def _is_complete(reader: Decompressor) -> bool:
    """Whether all bits of all coefficients were in the scans; always where the file is not progressive."""
    if not reader.bits_missing:
        return True
    return not any(reader.bits_missing[: BLOCK_COEFFICIENTS * reader.component_count])


def _write(reader: Decompressor, coefficients: int, room: Buffer) -> int:
    target = np.frombuffer(room, np.uint8)
    address = target.ctypes.data
    steps = _Callbacks.begin, _Callbacks.start_over, _Callbacks.finish
    destination = Destination(address, target.size, *steps, address, target.size)
    progress = Progress(_Callbacks.let_go)
    _locate(reader, coefficients, progress)
    errors = reader.errors.contents
    with _created(Compressor, errors) as writer:
        writer.destination, writer.progress = ctypes.pointer(destination), ctypes.pointer(progress)
        # All that can be wrong here is that tables change between the scans, which it looks at and goes on.
        errors.fail = _Callbacks.count
        _pillow.jpeg_copy_critical_parameters(ctypes.byref(reader), ctypes.byref(writer))
        if errors.warning_count:
            return 0
        errors.fail = _Callbacks.end_process
        _pillow.jpeg_write_coefficients(ctypes.byref(writer), c_void_p(coefficients))
        _run(_pillow.jpeg_finish_compress, writer)
    return int(destination.file_bytes)


def _locate(reader: Decompressor, coefficients: int, progress: Progress) -> None:
    """Fill in where the coefficients lie; those that may lie in several pieces are left out, and kept to the end."""
    arrays = ctypes.cast(coefficients, POINTER(c_void_p))
    for index in range(reader.component_count):
        component = reader.components[index]
        width = -(-component.width // component.mcu_width) * component.mcu_width
        height = -(-component.height // component.mcu_height) * component.mcu_height
        byte_count = 2 * BLOCK_COEFFICIENTS * width * height
        if byte_count <= _PIECE_BYTES:
            begin = reader.memory.contents.rows_of(ctypes.byref(reader), arrays[index], 0, 1, 0)[0]
            progress.components[index] = begin, byte_count, -(-begin // _PAGE_BYTES) * _PAGE_BYTES


def _run(function: "ctypes._FuncPointer", structure: "Decompressor | Compressor") -> int | None:
    """Call a function of one argument in a thread that its errors end. Returns its answer, None after an error."""
    errors = structure.errors.contents
    thread, answer = c_ulong(), c_void_p()
    fail, errors.fail = errors.fail, _Callbacks.end_thread
    start = ctypes.cast(function, c_void_p)
    if _system.pthread_create(ctypes.byref(thread), None, start, ctypes.byref(structure)):
        raise MemoryError
    _system.pthread_join(thread, ctypes.byref(answer))
    errors.fail = fail
    # The thread is ended with what the error was handed: the structure.
    return None if answer.value == ctypes.addressof(structure) else answer.value


def _new_errors(fail: "ctypes._FuncPointer") -> Errors:
    errors = Errors()
    _pillow.jpeg_std_error(ctypes.byref(errors))
    errors.fail, errors.print = fail, _Callbacks.ignore
    return errors


@contextmanager
def _created(kind: type[_AnyStructure], errors: Errors) -> Iterator[_AnyStructure]:
    # A library of another interface clears more than the structure has.
    space = (kind * 8)()
    structure: _AnyStructure = space[0]
    structure.errors = ctypes.pointer(errors)
    create = _pillow.jpeg_CreateDecompress if kind is Decompressor else _pillow.jpeg_CreateCompress
    create(ctypes.byref(structure), VERSION, c_size_t(ctypes.sizeof(kind)))
    try:
        yield structure
    finally:
        _pillow.jpeg_destroy(ctypes.byref(structure))


@functools.cache
def load() -> bool:
    """Return whether libjpeg is there with the interface that is written down here; once before any sandbox."""
    try:
        # What ends a thread in the middle of a function.
        ctypes.CDLL("libgcc_s.so.1")
        errors = _new_errors(_Callbacks.count)
        with _created(Decompressor, errors) as reader, _created(Compressor, errors):
            # To read without a file is an error: it must end its thread and nothing else.
            return not errors.warning_count and _run(_pillow.jpeg_read_coefficients, reader) is None
    except (AttributeError, OSError):
        return False
