# SPDX-License-Identifier: Apache-2.0
"""Datatypes of the Open Inference Protocol: sizes, and the length-prefixed elements of BYTES.

Source: Open Inference Protocol, "Tensor Data" and the binary tensor data extension of Triton
(raw contents: C order, little-endian, each BYTES element after its length in 4 bytes).
"""

from collections.abc import Sequence
from math import prod

BYTES = "BYTES"
ITEM_SIZE_BYTES = {
    "BOOL": 1,
    "UINT8": 1,
    "INT8": 1,
    "UINT16": 2,
    "INT16": 2,
    "FP16": 2,
    "BF16": 2,
    "UINT32": 4,
    "INT32": 4,
    "FP32": 4,
    "UINT64": 8,
    "INT64": 8,
    "FP64": 8,
}
_LENGTH_PREFIX_BYTES = 4


def tensor_bytes(datatype: str, shape: Sequence[int]) -> int | None:
    """Return the byte length of a tensor, or None where the elements have no fixed size or a dimension is open."""
    item_bytes = ITEM_SIZE_BYTES.get(datatype)
    if item_bytes is None or min(shape, default=0) < 0:
        return None
    return item_bytes * prod(shape)


def element_ends(data: memoryview, element_count: int) -> list[int] | None:
    """Return where each of `element_count` BYTES elements ends, or None unless they fill `data` exactly."""
    ends: list[int] = []
    position, total = 0, len(data)
    for _ in range(element_count):
        start = position + _LENGTH_PREFIX_BYTES
        if start > total:
            return None
        position = start + int.from_bytes(data[position:start], "little")
        ends.append(position)
    return ends if position == total else None


def split_rows(data: memoryview, datatype: str, shape: Sequence[int], row_counts: Sequence[int]) -> list[memoryview]:
    """Cut a tensor of `shape` along its first dimension into views of `row_counts` rows each.

    Raises:
        ValueError: `data` is not as long as the datatype and shape say.
    """
    fixed_bytes = tensor_bytes(datatype, shape)
    if fixed_bytes is not None:
        if len(data) != fixed_bytes:
            raise ValueError(f"expected {fixed_bytes} bytes, got {len(data)}")
        row_bytes = fixed_bytes // shape[0] if shape[0] else 0
        offsets = [row_bytes * rows for rows in _running_sum(row_counts)]
    else:
        ends = element_ends(data, prod(shape))
        if ends is None:
            raise ValueError(f"expected {prod(shape)} length-prefixed elements, got something else")
        row_elements = prod(shape[1:])
        offsets = [ends[row_elements * rows - 1] if row_elements * rows else 0 for rows in _running_sum(row_counts)]
    starts = [0, *offsets[:-1]]
    return [data[start:end] for start, end in zip(starts, offsets, strict=True)]


def _running_sum(counts: Sequence[int]) -> list[int]:
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    return sums
