# SPDX-License-Identifier: Apache-2.0
"""Header blocks are read as the library reads them, remembered ones too; what we write it reads again."""

import hpack
import pytest
from grpc_h2.http2.wire.errors import ConnectionFault
from grpc_h2.http2.wire.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM
from grpc_h2.http2.wire.header_blocks import HeaderBlockReader, write_fields
from hypothesis import given, settings
from hypothesis import strategies as st

NAMES = st.sampled_from([b":path", b":method", b"x-a", b"x-b", b"te"])
VALUES = st.sampled_from([b"/one", b"POST", b"trailers", b"", b"v" * 200, b"\xff\0"])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)


def peers_blocks(lists: list[list[tuple[bytes, bytes]]], huffman: bool) -> list[bytes]:
    encoder = hpack.Encoder()
    return [encoder.encode(fields, huffman=huffman) for fields in lists]


def read_fresh(blocks: list[bytes]) -> list[tuple[tuple[bytes, bytes], ...]]:
    decoder = hpack.Decoder()
    return [tuple((bytes(n), bytes(v)) for n, v in decoder.decode(block, raw=True)) for block in blocks]


@pytest.mark.slow
@given(lists=st.lists(FIELDS, max_size=30), huffman=st.booleans())
@settings(max_examples=150)
def test_blocks_are_read_as_a_decoder_without_memory_reads_them(
    lists: list[list[tuple[bytes, bytes]]], huffman: bool
) -> None:
    blocks = peers_blocks(lists, huffman)
    reader = HeaderBlockReader(1 << 16)
    assert [reader.read(block) for block in blocks] == read_fresh(blocks)


@pytest.mark.slow
@given(
    pieces=st.lists(
        st.sampled_from(
            [b"\x82", b"\xbe", b"\xbf\xbe", b"\x82\xc0", b"\x40\x01a\x01b", b"\x40\x01c\x01d", b"\x00\x01e\x01f", b""]
        ),
        max_size=40,
    ),
    resize=st.sampled_from([b"", b"\x20", b"\x3f\x09"]),
)
@settings(max_examples=300)
def test_indices_mean_what_the_table_says_now(pieces: list[bytes], resize: bytes) -> None:
    """Sequences that a peer may make up: the table grows, shrinks and is emptied between the same indices."""
    reader, decoder = HeaderBlockReader(1 << 16), hpack.Decoder()
    for at, piece in enumerate(pieces):
        block = (resize if at % 5 == 4 else b"") + piece
        try:
            expected = tuple((bytes(n), bytes(v)) for n, v in decoder.decode(block, raw=True))
        except hpack.HPACKError:
            with pytest.raises(ConnectionFault):
                reader.read(block)
            return
        assert reader.read(block) == expected


def test_the_same_block_of_indices_is_not_decoded_twice() -> None:
    reader = HeaderBlockReader(1 << 16)
    reader.read(b"\x40\x01a\x01b")
    assert reader.read(b"\x82\xbe") is reader.read(b"\x82\xbe")


def test_what_is_remembered_stays_small() -> None:
    reader = HeaderBlockReader(1 << 16)
    for first in range(0x82, 0x82 + 60):
        for second in range(0x82, 0x82 + 60):
            reader.read(bytes((first, second)))
        reader.read(bytes((first,)) * 500)
    assert len(reader._remembered) <= 64
    assert sum(map(len, reader._remembered)) <= 64 * 64


@pytest.mark.parametrize(
    ("block", "code"),
    [
        pytest.param(b"\x40\x01a\x7f\xa1\x1e" + bytes(4000) + b"\xbe" * 100, ENHANCE_YOUR_CALM, id="bomb"),
        pytest.param(b"\x80", COMPRESSION_ERROR, id="index 0"),
        pytest.param(b"\xff" * 4 + b"\x7f", COMPRESSION_ERROR, id="huge index"),
        pytest.param(b"\0\x01a\xff" + b"\xff" * 2000, COMPRESSION_ERROR, id="damaged text"),
        pytest.param(b"\x00\xff\xff\xff\xff\xff\xff\xff", COMPRESSION_ERROR, id="huge length"),
    ],
)
def test_a_bad_block_is_a_fault(block: bytes, code: int) -> None:
    with pytest.raises(ConnectionFault) as caught:
        HeaderBlockReader(1 << 15).read(block)
    assert caught.value.code == code


@given(fields=st.lists(st.tuples(st.binary(min_size=1, max_size=300), st.binary(max_size=300)), max_size=8))
def test_what_is_written_is_read_again_and_enters_no_table(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = hpack.Decoder()
    assert [(bytes(n), bytes(v)) for n, v in decoder.decode(write_fields(fields), raw=True)] == fields
    assert not decoder.header_table.dynamic_entries


@pytest.mark.parametrize("size", [126, 127, 128, 254, 255, 16_510, 16_511, 100_000])
def test_lengths_at_the_edges_are_written_as_they_are_read(size: int) -> None:
    value = b"v" * size
    assert hpack.Decoder(1 << 20).decode(write_fields([(b"x", value)]), raw=True) == [(b"x", value)]
