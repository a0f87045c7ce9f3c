# SPDX-License-Identifier: Apache-2.0
"""The structures of libjpeg (jpeglib.h), as of interface 6.2 where pointers have 64 bits, as far as they are used."""

import ctypes
from ctypes import CFUNCTYPE, POINTER, c_char, c_int, c_long, c_size_t, c_uint, c_void_p
from typing import ClassVar

VERSION = 62
BLOCK_COEFFICIENTS = 64


class Errors(ctypes.Structure):
    """jpeg_error_mgr."""


class Compressor(ctypes.Structure):
    """jpeg_compress_struct."""


class Decompressor(ctypes.Structure):
    """jpeg_decompress_struct."""


# Every callback takes the structure at work, whose first member is the errors.
Notice = CFUNCTYPE(None, POINTER(POINTER(Errors)))
Step = CFUNCTYPE(c_int, POINTER(Compressor))
Report = CFUNCTYPE(None, POINTER(Compressor))

Errors._fields_ = [
    ("fail", Notice), ("warn", c_void_p), ("print", Notice), ("format", c_void_p), ("reset", c_void_p),
    ("code", c_int), ("parameters", c_char * 80), ("trace_level", c_int), ("warning_count", c_long),
    ("texts", c_void_p * 4),
]  # fmt: skip


class Memory(ctypes.Structure):
    """jpeg_memory_mgr. `rows_of` gives the addresses of rows of an array of blocks, from one row on."""

    _fields_: ClassVar = [
        ("others", c_void_p * 8),
        ("rows_of", CFUNCTYPE(POINTER(c_size_t), POINTER(Decompressor), c_void_p, c_uint, c_uint, c_int)),
    ]  # fmt: skip


class Component(ctypes.Structure):
    """jpeg_component_info. Sizes are in blocks: of an MCU's part of it, and of the whole."""

    _fields_: ClassVar = [
        ("names", c_int * 2), ("mcu_width", c_int), ("mcu_height", c_int), ("tables", c_int * 3),
        ("width", c_uint), ("height", c_uint), ("others", c_int * 11), ("pointers", c_void_p * 2),
    ]  # fmt: skip


class Coefficients(ctypes.Structure):
    """Where one component's coefficients lie, and from which address on their pages are still held."""

    _fields_: ClassVar = [("begin", c_size_t), ("byte_count", c_size_t), ("held_from", c_size_t)]


class Progress(ctypes.Structure):
    """jpeg_progress_mgr, and the coefficients that are being written. Rows are those of MCUs."""

    _fields_: ClassVar = [
        ("report", Report), ("row", c_long), ("row_count", c_long), ("passes_before", c_int), ("pass_count", c_int),
        ("components", Coefficients * 4),
    ]  # fmt: skip


class Destination(ctypes.Structure):
    """jpeg_destination_mgr, and the room that it writes to."""

    _fields_: ClassVar = [
        ("next", c_void_p), ("free_bytes", c_size_t), ("begin", Step), ("go_on", Step), ("end", Step),
        ("room", c_void_p), ("room_bytes", c_size_t), ("is_full", c_int), ("file_bytes", c_size_t),
    ]  # fmt: skip


Decompressor._fields_ = [
    ("errors", POINTER(Errors)), ("memory", POINTER(Memory)), ("shared", c_void_p * 2), ("state", c_int * 2),
    ("source", c_void_p), ("size", c_uint * 2), ("component_count", c_int), ("settings", c_int * 33),
    ("bits_missing", POINTER(c_int)), ("tables", c_void_p * 13), ("components", POINTER(Component)),
    ("others", c_void_p * 40),
]  # fmt: skip

Compressor._fields_ = [
    ("errors", POINTER(Errors)), ("memory", POINTER(Memory)), ("progress", POINTER(Progress)), ("shared", c_void_p),
    ("state", c_int * 2), ("destination", POINTER(Destination)), ("others", c_void_p * 59),
]  # fmt: skip
