# SPDX-License-Identifier: Apache-2.0
"""Typed tensor contents (`InferTensorContents`) become the protocol's raw encoding, without an object for each value.

Source: Open Inference Protocol, `InferTensorContents`: which field goes with which datatypes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from tritonclient.grpc import service_pb2

from open_inference import wire
from open_inference.tensors import Buffer

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
# Fields whose values are on the wire as they are in a raw content.
_AS_THEY_ARE = {"fp32_contents": wire.FIXED32, "fp64_contents": wire.FIXED64, _BYTES_FIELD: wire.LENGTH_DELIMITED}
_NAMES: Mapping[int, str] = {f.number: f.name for f in service_pb2.InferTensorContents.DESCRIPTOR.fields}
# So much is made numbers at once.
_PIECE_BYTES = 64 << 10


class DamagedContentsError(ValueError):
    """What should be a list of numbers is none; the text is for the caller."""


@dataclass(frozen=True, slots=True, repr=False)
class TypedContents:
    """The contents of one input as they came: for each field that is filled, the views that hold its values.

    `raw` is the raw encoding of the one field that is filled, once it has been made.
    """

    values: Mapping[str, Sequence[memoryview]] = field(default_factory=dict)
    raw: Buffer | None = None

    @property
    def kind(self) -> str:
        """The name of the one field that is filled; several are named together."""
        return ",".join(name for name in _NAMES.values() if name in self.values)

    @property
    def varint_bytes(self) -> int:
        """How much has to be made numbers."""
        return sum(len(view) for name, views in self.values.items() if name not in _AS_THEY_ARE for view in views)

    def made_raw(self, datatype: str) -> "TypedContents":
        """Return contents whose raw encoding has been made, for the datatype that they are to fill."""
        return replace(self, raw=to_raw(self, self.kind, datatype)) if self.kind in _FIELDS else self


def read_contents(messages: Sequence[memoryview]) -> TypedContents:
    """Return what is in messages that protobuf would merge to one. They can be followed: that has been checked.

    Raises:
        DamagedContentsError: A list ends within a number.
    """
    values: dict[str, list[memoryview]] = {}
    for message in messages:
        for tag, start, end in wire.fields(message):
            name = _NAMES.get(tag >> 3, "")
            own = _AS_THEY_ARE.get(name, wire.VARINT)
            if not name or tag & 7 not in (own, wire.LENGTH_DELIMITED):
                continue  # unknown to protobuf too
            if start == end and name != _BYTES_FIELD:
                continue
            if own == wire.VARINT and message[end - 1] >= 0x80:
                raise _damaged(name)
            values.setdefault(name, []).append(message[start:end])
    return TypedContents(values)


def field_datatype(field: str) -> str:
    """Return the datatype by which error messages call a field of typed contents."""
    return "BYTES" if field == _BYTES_FIELD else _FIELDS[field][0]


def fills(field: str, datatype: str) -> bool:
    """Whether a field of typed contents may fill a tensor of this datatype."""
    return datatype == "BYTES" if field == _BYTES_FIELD else datatype in _FIELDS[field][1]


def to_raw(contents: TypedContents, field: str, datatype: str) -> Buffer:
    """Return the raw encoding of the values in `field`; values too large for a small integer wrap, as in Triton.

    Raises:
        DamagedContentsError: A number is none.
    """
    if contents.raw is not None:
        return contents.raw
    views = contents.values[field]
    if field == _BYTES_FIELD:
        return b"".join(piece for view in views for piece in (len(view).to_bytes(4, "little"), view))
    if field in _AS_THEY_ARE:
        return views[0] if len(views) == 1 else b"".join(views)
    own, narrow = _FIELDS[field][1][field_datatype(field)], _FIELDS[field][1][datatype]
    raw = bytearray()
    for piece in _pieces(views):
        numbers = _numbers(piece, field)
        raw += (numbers != 0 if own is np.bool_ else numbers.astype(own)).astype(narrow).tobytes()
    return raw


def _pieces(views: Sequence[memoryview]) -> Iterator[npt.NDArray[np.uint8]]:
    """Cut the values where a number ends. Those that came one by one are put together first."""
    whole = views[0] if len(views) == 1 else b"".join(views)
    data = np.frombuffer(whole, np.uint8)
    start = 0
    while start < len(data):
        end = min(len(data), start + _PIECE_BYTES)
        while end < len(data) and data[end - 1] >= 0x80 and end - start < _PIECE_BYTES + wire.MAX_VARINT_BYTES:
            end += 1
        yield data[start:end]
        start = end


def _numbers(data: npt.NDArray[np.uint8], field: str) -> npt.NDArray[np.uint64]:
    """Return the varints in `data` as integers of 64 bits without a sign."""
    last = data < 0x80
    if last.all():  # each is one byte
        return data.astype(np.uint64)
    ends = np.flatnonzero(last)
    starts = np.concatenate(([0], ends[:-1] + 1))
    sizes = ends - starts + 1
    size = int(sizes.max(initial=0))
    if not last[-1] or size > wire.MAX_VARINT_BYTES:
        raise _damaged(field)
    numbers = np.zeros(len(ends), np.uint64)
    for place in range(size):
        has = np.flatnonzero(sizes > place)
        numbers[has] |= (data[starts[has] + place] & 0x7F).astype(np.uint64) << np.uint64(7 * place)
    return numbers


def _damaged(field: str) -> DamagedContentsError:
    return DamagedContentsError(
        f"`inputs.contents.{field}` of the request ends within a number, or has one that is none."
    )
