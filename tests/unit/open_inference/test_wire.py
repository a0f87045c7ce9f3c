# SPDX-License-Identifier: Apache-2.0
"""Cutting raw contents out of messages agrees with protobuf, or declines."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from open_inference import wire
from open_inference.server_messages import RequestReader
from testkit.infer_fuzz import Counted, disagreement
from tritonclient.grpc import service_pb2

FIELD = service_pb2.ModelInferRequest.RAW_INPUT_CONTENTS_FIELD_NUMBER


@given(st.integers(0, 2**64 - 1))
def test_a_varint_is_what_protobuf_writes(value: int) -> None:
    parameter = service_pb2.InferParameter(uint64_param=value or 1)
    assert parameter.SerializeToString() == b"\x28" + wire.varint(value or 1)


@pytest.mark.slow
@given(st.lists(st.binary(max_size=300), max_size=4), st.text(max_size=20))
def test_raw_contents_come_out_as_views_and_the_rest_stays(contents: list[bytes], name: str) -> None:
    message = service_pb2.ModelInferRequest(model_name=name, raw_input_contents=contents).SerializeToString()
    cut = wire.cut(message, FIELD)
    assert cut is not None
    assert [bytes(view) for view in cut.contents] == contents
    assert all(view.obj is message for view in cut.contents)
    assert service_pb2.ModelInferRequest.FromString(cut.rest) == service_pb2.ModelInferRequest(model_name=name)


@pytest.mark.slow
@given(st.lists(st.lists(st.binary(max_size=50), max_size=3), max_size=3))
def test_pieces_join_to_the_message_that_protobuf_would_write(contents: list[list[bytes]]) -> None:
    rest = service_pb2.ModelInferRequest(model_name="m").SerializeToString()
    message = b"".join(wire.with_contents(rest, FIELD, contents))
    expected = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"".join(c) for c in contents])
    assert message == expected.SerializeToString()


@pytest.mark.slow
@settings(max_examples=500)
@given(st.binary(max_size=200))
def test_random_bytes_are_read_as_protobuf_reads_them(message: bytes) -> None:
    assert disagreement(message, RequestReader(Counted())) is None


def test_lengths_of_two_gibibytes_and_cut_off_messages_are_declined() -> None:
    assert wire.cut(b"\x3a\xff\xff\xff\xff\x0f", FIELD) is None
    assert wire.cut(b"\x3a\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", FIELD) is None
    whole = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"x" * 200]).SerializeToString()
    for length in range(1, len(whole)):
        part = whole[:length]
        try:
            service_pb2.ModelInferRequest.FromString(part)
        except DecodeError:
            cut = wire.cut(part, FIELD)
            assert cut is None or cut.rest == part
