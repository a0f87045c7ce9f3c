# SPDX-License-Identifier: Apache-2.0
"""Typed tensor contents (`InferTensorContents`) become the protocol's raw encoding.

Source: Open Inference Protocol, `InferTensorContents`: which field goes with which datatypes.
"""

import struct
from typing import Any

import numpy as np
from tritonclient.grpc import service_pb2

# Field -> (datatype named in messages, datatypes it may fill).
_FIELDS: dict[str, tuple[str, dict[str, type[Any]]]] = {
    "bool_contents": ("BOOL", {"BOOL": np.bool_}),
    "int_contents": ("INT32", {"INT8": np.int8, "INT16": np.int16, "INT32": np.int32}),
    "int64_contents": ("INT64", {"INT64": np.int64}),
    "uint_contents": ("UINT32", {"UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32}),
    "uint64_contents": ("UINT64", {"UINT64": np.uint64}),
    "fp32_contents": ("FP32", {"FP32": np.float32}),
    "fp64_contents": ("FP64", {"FP64": np.float64}),
}
_BYTES_FIELD = "bytes_contents"


def field_datatype(field: str) -> str:
    """Return the datatype by which error messages call a field of typed contents."""
    return "BYTES" if field == _BYTES_FIELD else _FIELDS[field][0]


def fills(field: str, datatype: str) -> bool:
    """Whether a field of typed contents may fill a tensor of this datatype."""
    return datatype == "BYTES" if field == _BYTES_FIELD else datatype in _FIELDS[field][1]


def to_raw(contents: service_pb2.InferTensorContents, field: str, datatype: str) -> bytes:
    """Return the raw encoding of the values in `field`; values too large for a small integer wrap, as in Triton."""
    values = getattr(contents, field)
    if field == _BYTES_FIELD:
        return b"".join(piece for value in values for piece in (struct.pack("<I", len(value)), value))
    wide = np.array(values, dtype=_FIELDS[field][1][field_datatype(field)])
    return wide.astype(_FIELDS[field][1][datatype]).tobytes()
