# SPDX-License-Identifier: Apache-2.0
"""Where numpy has the memory of its arrays from: from Python's allocator, without a cache of its own.

Numpy keeps up to seven freed blocks of every size below 1,024 bytes for later, just as they were: the last words of a
file, rows of a small picture, a tensor of a few values. The C library overwrites only what is given back to it.

Source: NEP 49, "Data allocation strategies"; numpy's C API, `PyDataMem_SetHandler`.
"""

import ctypes
from importlib import import_module
from typing import ClassVar

# Its place in numpy's table of functions (numpy/__multiarray_api.h), which no version of the interface moves.
_SET_HANDLER = 304
_CAPSULE_NAME = b"mem_handler"
_PYMEM_DOMAIN_RAW = 0


class _Handler(ctypes.Structure):
    """PyDataMem_Handler: at its end a PyMemAllocatorEx as Python has them, whose `free` is told the size besides."""

    _fields_: ClassVar = [
        ("name", ctypes.c_char * 127),
        ("version", ctypes.c_uint8),
        ("allocator", ctypes.c_void_p * 5),
    ]


# Numpy keeps its address as long as there are arrays.
_handler = _Handler(b"python", 1)


def use_python_allocator() -> None:
    """Have memory of `PyMem_RawMalloc` for all arrays made from here on, in this context and in its copies."""
    python = ctypes.PyDLL(None)
    python.PyCapsule_GetPointer.restype = ctypes.c_void_p
    python.PyCapsule_GetPointer.argtypes = (ctypes.py_object, ctypes.c_char_p)
    python.PyCapsule_New.restype = ctypes.py_object
    python.PyCapsule_New.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    python.PyMem_GetAllocator(_PYMEM_DOMAIN_RAW, ctypes.byref(_handler.allocator))
    table = python.PyCapsule_GetPointer(import_module("numpy._core._multiarray_umath")._ARRAY_API, None)
    functions = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
    set_handler = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.py_object)(functions[_SET_HANDLER] or 0)
    set_handler(python.PyCapsule_New(ctypes.addressof(_handler), _CAPSULE_NAME, None))
