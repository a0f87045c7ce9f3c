# SPDX-License-Identifier: Apache-2.0
"""What is written as HEIF items is read back by a parser that shares nothing with the writer."""

import io
import struct
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.imaging.heif import HeifError, Item, box, full_box, read_single, write_file
from PIL import Image

FILE_TYPE = box(b"ftyp", b"avif", bytes(4), b"mif1")
KINDS = st.binary(min_size=4, max_size=4)
PROPERTIES = st.lists(
    st.sampled_from([box(b"av1C", b"1234"), *(full_box(b"ispe", struct.pack(">II", n, n)) for n in range(5))]),
    unique=True,
    max_size=4,
)


@st.composite
def item_lists(draw: st.DrawFn) -> list[Item]:
    count = draw(st.integers(1, 6))
    numbers = st.lists(st.integers(1, count), min_size=1, max_size=4)
    item = st.builds(
        Item,
        kind=KINDS,
        data=st.binary(max_size=40),
        properties=PROPERTIES,
        references=st.dictionaries(KINDS, numbers, max_size=2),
        is_hidden=st.booleans(),
    )
    return draw(st.lists(item, min_size=count, max_size=count))


def boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    stream = io.BytesIO(content)
    while head := stream.read(8):
        size = int.from_bytes(head[:4], "big")
        body = stream.read(size - 8)
        assert len(body) == size - 8
        yield head[4:], body


def parse(content: bytes) -> dict[str, Any]:
    """Take a file apart: its top boxes, and per item what it is, holds, has and refers to."""
    top = list(boxes(content))
    meta = dict(top)[b"meta"]
    assert meta[:4] == bytes(4)
    inside = dict(boxes(meta[4:]))
    (primary,) = struct.unpack(">4xH", inside[b"pitm"])
    items: dict[int, dict[str, Any]] = {}
    for kind, body in boxes(inside[b"iinf"][6:]):
        flags, number, protection, item_kind, name = struct.unpack(">IHH4s1s", body)
        assert (kind, flags >> 24, protection, name) == (b"infe", 2, 0, b"\0")
        items[number] = {"kind": item_kind, "hidden": bool(flags & 1), "references": {}}
    assert int.from_bytes(inside[b"iinf"][4:6], "big") == len(items)
    location = io.BytesIO(inside[b"iloc"])
    assert location.read(8) == bytes(4) + b"\x44\0" + struct.pack(">H", len(items))
    for _ in items:
        number, source, extents, offset, length = struct.unpack(">HHHII", location.read(14))
        assert (source, extents) == (0, 1)
        items[number]["data"] = content[offset : offset + length]
    for kind, body in boxes(inside.get(b"iref", bytes(4))[4:]):
        number, count = struct.unpack(">HH", body[:4])
        items[number]["references"][kind] = list(struct.unpack(f">{count}H", body[4:]))
    groups = dict(boxes(inside[b"iprp"]))
    stored = [box(kind, body) for kind, body in boxes(groups[b"ipco"])]
    association = io.BytesIO(groups[b"ipma"])
    assert association.read(8) == bytes(4) + struct.pack(">I", len(items))
    for _ in items:
        number, count = struct.unpack(">HB", association.read(3))
        entries = association.read(count)
        items[number]["properties"] = [stored[entry % 128 - 1] for entry in entries]
        items[number]["essential"] = {stored[entry % 128 - 1][4:8] for entry in entries if entry >= 128}
    handler = inside[b"hdlr"]
    return {"top": [kind for kind, _ in top], "primary": primary, "items": items, "stored": stored, "handler": handler}


@given(item_lists())
def test_items_are_read_back_as_they_were_given(items: list[Item]) -> None:
    parsed = parse(write_file(FILE_TYPE, items))
    assert parsed["top"] == [b"ftyp", b"meta", b"mdat"]
    assert parsed["primary"] == 1
    assert parsed["handler"][8:12] == b"pict"
    assert sorted(parsed["items"]) == list(range(1, len(items) + 1))
    for number, item in enumerate(items, 1):
        found = parsed["items"][number]
        assert (found["kind"], found["data"], found["hidden"]) == (item.kind, item.data, item.is_hidden)
        assert found["references"] == item.references
        assert found["properties"] == item.properties


@given(item_lists())
def test_equal_properties_are_written_once_and_only_what_decodes_is_essential(items: list[Item]) -> None:
    parsed = parse(write_file(FILE_TYPE, items))
    assert len(set(parsed["stored"])) == len(parsed["stored"])
    for item in parsed["items"].values():
        assert item["essential"] == {b"av1C"} & {one[4:8] for one in item["properties"]}


def avif(size: tuple[int, int] = (70, 64)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (200, 10, 60)).save(out, "AVIF")
    return out.getvalue()


def test_the_one_picture_of_a_file_is_taken_out_as_it_lies_there() -> None:
    content = avif()
    parsed = parse_encoder_file(content)
    picture = read_single(content)
    assert content.startswith(picture.file_type)
    assert picture.data == parsed
    assert {b"ispe", b"pixi", b"av1C", b"colr"} <= set(picture.properties)
    assert picture.properties[b"ispe"] == full_box(b"ispe", struct.pack(">II", 70, 64))


def parse_encoder_file(content: bytes) -> bytes:
    """Return the media data of a file, which of a file of one picture is that picture."""
    return dict(boxes(content))[b"mdat"]


def test_a_picture_taken_out_and_written_again_shows_the_same() -> None:
    content = avif()
    picture = read_single(content)
    again = write_file(picture.file_type, [Item(b"av01", picture.data, list(picture.properties.values()))])
    shown = [Image.open(io.BytesIO(file)).tobytes() for file in (content, again)]
    assert shown[0] == shown[1]


def test_a_file_that_is_cut_off_or_holds_more_is_refused() -> None:
    content = avif()
    for length in (0, 10, 60, 200, len(content) - 1):
        with pytest.raises(HeifError):
            read_single(content[:length])
    with pytest.raises(HeifError):
        read_single(write_file(FILE_TYPE, [Item(b"av01", b"1", []), Item(b"av01", b"2", [])]))
