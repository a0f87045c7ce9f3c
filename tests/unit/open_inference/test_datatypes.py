# SPDX-License-Identifier: Apache-2.0
"""Rows are cut where they end, of every datatype."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from open_inference.datatypes import element_ends, split_rows, tensor_bytes


def strings(*values: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(value)) + value for value in values)


def test_sizes_are_known_where_elements_and_dimensions_are() -> None:
    assert tensor_bytes("FP16", (2, 3)) == 12
    assert tensor_bytes("BF16", ()) == 2
    assert tensor_bytes("BYTES", (1,)) is None
    assert tensor_bytes("UINT8", (-1, 3)) is None


@pytest.mark.slow
@given(st.lists(st.lists(st.binary(max_size=9), min_size=2, max_size=2), min_size=1, max_size=6), st.data())
def test_rows_of_strings_come_out_as_they_went_in(rows: list[list[bytes]], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(rows)))
    whole = memoryview(strings(*(value for row in rows for value in row)))
    parts = split_rows(whole, "BYTES", (len(rows), 2), (cut, len(rows) - cut))
    assert bytes(parts[0]) == strings(*(value for row in rows[:cut] for value in row))
    assert bytes(parts[1]) == strings(*(value for row in rows[cut:] for value in row))


def test_fixed_rows_are_views_of_equal_parts() -> None:
    data = bytes(range(24))
    first, second = split_rows(memoryview(data), "INT32", (3, 2), (1, 2))
    assert (bytes(first), bytes(second)) == (data[:8], data[8:])
    assert first.obj is data


@pytest.mark.parametrize(
    ("data", "datatype", "shape"),
    [
        (b"", "UINT8", (2, 1)),
        (b"123", "UINT8", (2, 1)),
        (strings(b"a"), "BYTES", (2, 1)),
        (strings(b"a", b"b", b"c"), "BYTES", (2, 1)),
        (strings(b"a", b"b")[:-1], "BYTES", (2, 1)),
        (b"\xff\xff\xff\xff", "BYTES", (1, 1)),
    ],
)
def test_content_of_another_length_than_the_shape_says_is_refused(
    data: bytes, datatype: str, shape: tuple[int, ...]
) -> None:
    with pytest.raises(ValueError, match="expected"):
        split_rows(memoryview(data), datatype, shape, (shape[0],))


def test_elements_must_fill_the_content_exactly() -> None:
    assert element_ends(memoryview(strings(b"ab", b"")), 2) == [6, 10]
    assert element_ends(memoryview(b""), 0) == []
    assert element_ends(memoryview(b"x"), 0) is None
