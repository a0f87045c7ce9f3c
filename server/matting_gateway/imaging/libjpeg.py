# SPDX-License-Identifier: Apache-2.0
"""libjpeg by its own interface (jpeglib.h), in the library that Pillow brings.

Pillow and the others decode pixels; only libjpeg itself hands out the coefficients behind them. The structures are
those of interface 6.2 where pointers have 64 bits; with another library nothing is written here.

libjpeg leaves its functions after an error by C's longjmp, or by whatever else does not come back. Here it ends the
thread: whatever depends on a file runs in one that has nothing of Python in it.
"""

import ctypes
import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_long, c_size_t, c_uint, c_ulong, c_void_p
from typing import ClassVar, TypeVar

import numpy as np
from PIL import _imaging

from matting_gateway.domain import Buffer

_VERSION = 62
_BLOCK_COEFFICIENTS = 64


class _Errors(ctypes.Structure):
    """jpeg_error_mgr."""


class _Compressor(ctypes.Structure):
    """jpeg_compress_struct."""


# Every callback takes the structure at work, whose first member is the errors.
_Notice = CFUNCTYPE(None, POINTER(POINTER(_Errors)))
_Step = CFUNCTYPE(c_int, POINTER(_Compressor))

_Errors._fields_ = [
    ("fail", _Notice), ("warn", c_void_p), ("print", _Notice), ("format", c_void_p), ("reset", c_void_p),
    ("code", c_int), ("parameters", c_char * 80), ("trace_level", c_int), ("warning_count", c_long),
    ("texts", c_void_p * 4),
]  # fmt: skip


class _Destination(ctypes.Structure):
    """jpeg_destination_mgr, and the room that it writes to."""

    _fields_: ClassVar = [
        ("next", c_void_p), ("free_bytes", c_size_t), ("begin", _Step), ("go_on", _Step), ("end", _Step),
        ("room", c_void_p), ("room_bytes", c_size_t), ("is_full", c_int), ("file_bytes", c_size_t),
    ]  # fmt: skip


class _Decompressor(ctypes.Structure):
    """jpeg_decompress_struct."""

    _fields_: ClassVar = [
        ("errors", POINTER(_Errors)), ("shared", c_void_p * 3), ("state", c_int * 2), ("source", c_void_p),
        ("size", c_uint * 2), ("component_count", c_int), ("settings", c_int * 33),
        ("bits_missing", POINTER(c_int)), ("others", c_void_p * 54),
    ]  # fmt: skip


_Compressor._fields_ = [
    ("errors", POINTER(_Errors)), ("shared", c_void_p * 3), ("state", c_int * 2),
    ("destination", POINTER(_Destination)), ("others", c_void_p * 59),
]  # fmt: skip

_AnyStructure = TypeVar("_AnyStructure", _Decompressor, _Compressor)

# A symbol is looked up in all that Pillow's module is linked with.
_pillow = ctypes.CDLL(_imaging.__file__)
_system = ctypes.CDLL(None)


def _count(errors: "ctypes._Pointer[ctypes._Pointer[_Errors]]") -> None:
    errors.contents.contents.warning_count += 1


def _start_over(writer: "ctypes._Pointer[_Compressor]") -> int:
    """Go on where the room begins: the file is lost, but libjpeg comes to its end."""
    destination = writer.contents.destination.contents
    destination.next, destination.free_bytes = destination.room, destination.room_bytes
    destination.is_full = 1
    return 1


def _finish(writer: "ctypes._Pointer[_Compressor]") -> int:
    destination = writer.contents.destination.contents
    destination.file_bytes = 0 if destination.is_full else destination.room_bytes - destination.free_bytes
    return 1


class _Callbacks:
    """What libjpeg calls; made once, before a decoder process enters its sandbox."""

    end_thread = ctypes.cast(_system.pthread_exit, _Notice)
    end_process = _Notice(lambda _: os._exit(1))
    count = _Notice(_count)
    ignore = _Notice(lambda _: None)
    begin = _Step(lambda _: 1)
    start_over = _Step(_start_over)
    finish = _Step(_finish)


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
    with _created(_Decompressor, errors) as reader:
        file = np.frombuffer(content, np.uint8)
        _pillow.jpeg_mem_src(ctypes.byref(reader), c_void_p(file.ctypes.data), c_ulong(file.size))
        _run(_pillow.jpeg_consume_input, reader)
        # It fails as well where there is no header.
        coefficients = _run(_pillow.jpeg_read_coefficients, reader)
        if coefficients is None or errors.warning_count or not _is_complete(reader):
            return 0
        return _write(reader, coefficients, room)


def _is_complete(reader: _Decompressor) -> bool:
    """Whether all bits of all coefficients were in the scans; always where the file is not progressive."""
    if not reader.bits_missing:
        return True
    return not any(reader.bits_missing[: _BLOCK_COEFFICIENTS * reader.component_count])


def _write(reader: _Decompressor, coefficients: int, room: Buffer) -> int:
    target = np.frombuffer(room, np.uint8)
    address = target.ctypes.data
    steps = _Callbacks.begin, _Callbacks.start_over, _Callbacks.finish
    destination = _Destination(address, target.size, *steps, address, target.size)
    errors = reader.errors.contents
    with _created(_Compressor, errors) as writer:
        writer.destination = ctypes.pointer(destination)
        # All that can be wrong here is that tables change between the scans, which it looks at and goes on.
        errors.fail = _Callbacks.count
        _pillow.jpeg_copy_critical_parameters(ctypes.byref(reader), ctypes.byref(writer))
        if errors.warning_count:
            return 0
        errors.fail = _Callbacks.end_process
        _pillow.jpeg_write_coefficients(ctypes.byref(writer), c_void_p(coefficients))
        _run(_pillow.jpeg_finish_compress, writer)
    return int(destination.file_bytes)


def _run(function: "ctypes._FuncPointer", structure: "_Decompressor | _Compressor") -> int | None:
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


def _new_errors(fail: "ctypes._FuncPointer") -> _Errors:
    errors = _Errors()
    _pillow.jpeg_std_error(ctypes.byref(errors))
    errors.fail, errors.print = fail, _Callbacks.ignore
    return errors


@contextmanager
def _created(kind: type[_AnyStructure], errors: _Errors) -> Iterator[_AnyStructure]:
    # A library of another interface clears more than the structure has.
    space = (kind * 8)()
    structure: _AnyStructure = space[0]
    structure.errors = ctypes.pointer(errors)
    create = _pillow.jpeg_CreateDecompress if kind is _Decompressor else _pillow.jpeg_CreateCompress
    create(ctypes.byref(structure), _VERSION, c_size_t(ctypes.sizeof(kind)))
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
        with _created(_Decompressor, errors) as reader, _created(_Compressor, errors):
            # To read without a file is an error: it must end its thread and nothing else.
            return not errors.warning_count and _run(_pillow.jpeg_read_coefficients, reader) is None
    except (AttributeError, OSError):
        return False
