# SPDX-License-Identifier: Apache-2.0
"""The hand-written messages are what the protocol's own library reads and writes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_load.sending.wire import infer_request, raw_output_bytes, timeout_parameter
from tritonclient.grpc import service_pb2


@pytest.mark.slow
@given(st.text(max_size=9), st.lists(st.integers(0, 2**40), max_size=4), st.binary(max_size=300))
def test_a_request_is_read_by_the_protocols_library(name: str, shape: list[int], data: bytes) -> None:
    message = service_pb2.ModelInferRequest.FromString(infer_request("m", name, "UINT8", shape, data))
    (tensor,) = message.inputs
    assert (message.model_name, tensor.name, tensor.datatype, list(tensor.shape)) == ("m", name, "UINT8", shape)
    assert list(message.raw_input_contents) == [data]
    assert not message.parameters


@given(st.integers(0, 2**62))
def test_a_timeout_may_stand_before_or_after(timeout_us: int) -> None:
    request = infer_request("m", "x", "UINT8", [1], b"1")
    for content in (infer_request("m", "x", "UINT8", [1], b"1", timeout_us), request + timeout_parameter(timeout_us)):
        message = service_pb2.ModelInferRequest.FromString(content)
        assert message.parameters["timeout"].int64_param == timeout_us
        assert message.model_name == "m"


@given(st.lists(st.binary(max_size=200), max_size=4))
def test_the_length_of_raw_outputs_is_counted(outputs: list[bytes]) -> None:
    response = service_pb2.ModelInferResponse(model_name="m", raw_output_contents=outputs)
    response.parameters["n"].int64_param = -1
    response.outputs.add(name="alpha", datatype="UINT8", shape=[1, 2])
    assert raw_output_bytes(response.SerializeToString()) == sum(map(len, outputs))


@given(st.binary(max_size=40))
def test_what_is_no_message_is_refused_or_read(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert raw_output_bytes(content) >= 0


def test_a_message_cut_off_is_refused() -> None:
    response = service_pb2.ModelInferResponse(raw_output_contents=[b"12345"]).SerializeToString()
    with pytest.raises(ValueError, match="ends within"):
        raw_output_bytes(response[:-1])
