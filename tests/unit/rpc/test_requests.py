# SPDX-License-Identifier: Apache-2.0
"""Callers' messages become objects in one place, and what is refused there says what to do."""

import ast
from pathlib import Path

import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.errors import MAX_MESSAGE_LENGTH, GatewayError, OptionInvalidError, TensorInvalidError
from matting_gateway.rpc.boundary.request_parser import RequestParser, parser_of
from open_inference.message_limits import MessageLimits
from open_inference.server_messages import RequestReader
from tritonclient.grpc import service_pb2

SERVER = Path(__file__).parents[3] / "server"
RPC, OPEN_INFERENCE = SERVER / "matting_gateway" / "rpc", SERVER / "open_inference"
LIMITS = MessageLimits()


def refusal_of(message: bytes, kind: type) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        RequestParser(kind, LIMITS)(message)
    return caught.value


def test_a_request_within_its_limits_is_parsed_from_any_buffer() -> None:
    request = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=b"photo"), outputs=[pb.OutputSpec()])
    data = request.SerializeToString()
    parse = RequestParser(pb.RemoveBackgroundRequest, LIMITS)
    assert parse(data) == parse(memoryview(data)) == parse(bytearray(data)) == request


@pytest.mark.parametrize("outputs", [16, 256])
def test_a_photo_with_as_many_outputs_as_a_list_may_have_passes(outputs: int) -> None:
    message = pb.RemoveBackgroundRequest(outputs=[pb.OutputSpec()] * outputs)
    RequestParser(pb.RemoveBackgroundRequest, LIMITS).check(message.SerializeToString())


def test_too_many_outputs_of_a_photo_are_named_with_the_limit_and_what_to_do() -> None:
    error = refusal_of(b"\x22\x00" * 1000, pb.RemoveBackgroundRequest)
    assert isinstance(error, OptionInvalidError)
    assert error.field == "outputs"
    assert error.message == (
        "`outputs` of the request has more than 256 entries; that is the most taken in one message: send fewer."
    )


def test_too_many_inputs_of_a_tensor_request_are_named() -> None:
    error = refusal_of(b"\x2a\x00" * 1000, service_pb2.ModelInferRequest)
    assert isinstance(error, TensorInvalidError)
    assert error.field == "inputs"


def test_what_protobuf_cannot_read_is_the_callers_fault() -> None:
    for damaged in (b"\x22\x05", b"\x0f", b"\x12\x02\x0a\x05"):
        assert "protobuf cannot read it" in refusal_of(damaged, pb.RemoveBackgroundRequest).message


@pytest.mark.parametrize("unit", [b"\x2a\x00", b"\x32\x00", b"\x3a\x00", b"\x2a\x02\x1a\x00", b"\xf8\x3f\x01"])
def test_the_reader_of_tensors_refuses_half_a_million_of_anything(unit: bytes) -> None:
    with pytest.raises(TensorInvalidError, match="that is the most taken"):
        RequestReader(RequestParser(service_pb2.ModelInferRequest, LIMITS)).read(unit * 500_000)


def test_what_makes_objects_uncounted_cannot_be_registered() -> None:
    with pytest.raises(TypeError):
        parser_of(lambda data: data, LIMITS)


def test_nothing_else_in_the_doors_parses_a_request() -> None:
    found = {
        (path.name, ast.unparse(node))
        for path in (*RPC.rglob("*.py"), *OPEN_INFERENCE.glob("server_*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"FromString", "ParseFromString", "MergeFromString"}
    }
    registered = {name for name in found if name[1].startswith("pb.") or name[1] == "request.FromString"}
    assert found - registered == {
        ("request_parser.py", "self._kind.FromString"),
        ("server_messages.py", "service_pb2.ModelInferRequest.FromString"),  # of a header that has been counted
    }
    assert {name for _, name in registered if "Request" in name} == {
        "pb.ListModelsRequest.FromString",
        "pb.GetDataPolicyRequest.FromString",
    }


def test_an_error_that_quotes_what_a_caller_sent_fits_into_headers() -> None:
    error = TensorInvalidError(f"Request for unknown model: '{'m' * 1_000_000}' is not found")
    assert len(error.message) <= MAX_MESSAGE_LENGTH
    assert error.message.startswith("Request for unknown model: 'mmm")
    assert error.message.endswith("mmm' is not found")
