# SPDX-License-Identifier: Apache-2.0
"""A call's headers mean what gRPC's protocol says, and bad ones are told apart from what is no call at all."""

import urllib.parse

import hpack
import pytest
from grpc_h2.server.metadata import (
    BadMetadataError,
    CallHead,
    NotGrpcError,
    initial_block,
    metadata_block,
    percent_encoded,
    read_head,
    status_block,
)
from hypothesis import given
from hypothesis import strategies as st

CALL = {b":method": b"POST", b":path": b"/test/Take", b"content-type": b"application/grpc"}


def head(*fields: tuple[bytes, bytes], max_bytes: int = 16 << 10, **changes: bytes) -> CallHead:
    own = CALL | {name.replace("_", "-").encode(): value for name, value in changes.items()}
    return read_head((*own.items(), *fields), max_bytes=max_bytes)


def read(block: bytes) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in hpack.Decoder().decode(block, raw=True)]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"30S", 30.0),
        (b"1500m", 1.5),
        (b"7u", 7e-6),
        (b"99999999n", 0.099999999),
        (b"0S", 0.0),
        (b"99999999H", 359999996400.0),
    ],
)
def test_time_limits_have_units(text: bytes, seconds: float) -> None:
    assert head(grpc_timeout=text).timeout_s == pytest.approx(seconds)


@pytest.mark.parametrize("text", [b"", b"5", b"S", b"123456789S", b"-1S", b"1.5S", b"1s", b" 1S", b"1S\n", b"\xb2S"])
def test_time_limits_that_are_none_are_refused(text: bytes) -> None:
    with pytest.raises(BadMetadataError, match="grpc-timeout"):
        head(grpc_timeout=text)


def test_without_a_time_limit_and_an_encoding_there_is_none() -> None:
    assert head() == CallHead(method="/test/Take", timeout_s=None, encoding="identity", metadata=())


@pytest.mark.parametrize("value", [b"YQ", b"YQ=="])
def test_binary_metadata_are_read_with_and_without_padding(value: bytes) -> None:
    assert head((b"x-bin", value)).metadata == (("x-bin", b"a"),)


def test_binary_metadata_that_were_joined_on_the_way_are_several() -> None:
    assert head((b"x-bin", b"YQ,Yg==,")).metadata == (("x-bin", b"a"), ("x-bin", b"b"), ("x-bin", b""))


def test_what_belongs_to_the_protocol_is_no_metadatum() -> None:
    own = [(name, b"1S") for name in (b"te", b"grpc-timeout", b"grpc-encoding", b"grpc-accept-encoding")]
    assert head(*own, (b"user-agent", b"me"), (b":authority", b"host")).metadata == (("user-agent", "me"),)


@pytest.mark.parametrize(
    "field",
    [
        (b"x-bin", b"?"),
        (b"x-bin", b"Y"),
        (b"x-bin", b"Y Q="),
        (b"X-Upper", b"v"),
        (b"x y", b"v"),
        (b"", b"v"),
        (b"x-\xff", b"v"),
        (b"x-text", b"\xff"),
        (b"x-text", b"line\nbreak"),
        (b"x-text", b"\0"),
    ],
)
def test_damaged_metadata_are_refused_and_not_quoted(field: tuple[bytes, bytes]) -> None:
    with pytest.raises(BadMetadataError) as caught:
        head(field)
    assert "x-" not in str(caught.value)


def test_metadata_larger_than_allowed_are_refused() -> None:
    size = sum(len(name) + len(value) + 32 for name, value in CALL.items())
    assert head(max_bytes=size).metadata == ()
    with pytest.raises(BadMetadataError, match="send less"):
        head(max_bytes=size - 1)


@pytest.mark.parametrize(
    "kind",
    [b"application/grpc", b"application/grpc+proto", b"application/grpc;charset=utf-8", b"application/grpc+json"],
)
def test_calls_say_that_they_are(kind: bytes) -> None:
    assert head(content_type=kind).method == "/test/Take"


@pytest.mark.parametrize("kind", [b"", b"text/html", b"application/grpc-web", b"application/grpcx"])
def test_what_is_of_another_type_is_415(kind: bytes) -> None:
    with pytest.raises(NotGrpcError) as caught:
        head(content_type=kind)
    assert read(caught.value.headers) == [(b":status", b"415")]


def test_what_is_no_post_is_405() -> None:
    with pytest.raises(NotGrpcError) as caught:
        head((b":method", b"GET"))
    assert read(caught.value.headers) == [(b":status", b"405")]


@given(text=st.text(max_size=60))
def test_messages_come_back_from_their_encoding(text: str) -> None:
    encoded = percent_encoded(text)
    assert all(0x20 <= byte < 0x7F for byte in encoded)
    assert urllib.parse.unquote_to_bytes(encoded) == text.encode("utf-8", "replace")


def test_an_answer_begins_and_ends_as_grpc_says() -> None:
    assert read(initial_block([("x-a", "1"), ("X-B-Bin", b"\xff")])) == [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-accept-encoding", b"identity,deflate,gzip"),
        (b"x-a", b"1"),
        (b"x-b-bin", b"/w"),
    ]
    assert read(status_block(0, "")) == [(b"grpc-status", b"0")]
    assert read(status_block(5, "a%b") + metadata_block((("x-a", "1"),))) == [
        (b"grpc-status", b"5"),
        (b"grpc-message", b"a%25b"),
        (b"x-a", b"1"),
    ]


@pytest.mark.parametrize("value", ["line\r\nbreak", "\u00e4", "\0"])
def test_what_would_break_a_header_is_not_written(value: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        metadata_block((("x-a", value),))
