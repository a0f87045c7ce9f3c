# SPDX-License-Identifier: Apache-2.0
"""How often the gateway's own code copies pixels: a tensor once on the way in, on the way out not at all, in streams
once; a photo once on the way in, into the memory of its call, and a result not at all.

Counted as the memory that Python allocates meanwhile, in units of the pixels' bytes; slabs of shared memory and calls'
files are none of Python's, so writing into them is the one copy that does not show.
"""

import tracemalloc
from collections.abc import Iterator

import pytest
from grpc_h2.bodies.framing import PREFIX_BYTES, body_of
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.domain.photo import EncodedPhoto, MattingAnswer, RenderedOutput, Subject
from matting_gateway.rpc.boundary.request_parser import RequestParser
from matting_gateway.rpc.photo.conversions import request_from
from matting_gateway.rpc.photo.photo_wire import PhotoReader, answer_pieces, item_pieces
from matting_gateway.triton.discovery.contract import read_contract
from matting_gateway.triton.transport.batch_io import batch_inputs, share_out
from open_inference.client_messages import AnswerReader, OutputRequest, Place, write_request
from open_inference.message_limits import MessageLimits
from open_inference.server_messages import InferResponse, RequestReader, ResponseWriter, join_and_release
from open_inference.tensors import Tensor
from testkit.doors import infer_request
from testkit.fake_triton import echo_config
from testkit.pools import batch_of, key_of
from tritonclient.grpc import service_pb2

WIDTH = 1 << 20
ROWS = 4
# Headers, views and bookkeeping.
SLACK = 0.02


@pytest.fixture
def allocation() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def copies_since(base_bytes: int, tensor_bytes: int) -> float:
    """Return the most memory held since `base_bytes`, in units of the tensor."""
    return (tracemalloc.get_traced_memory()[1] - base_bytes) / tensor_bytes


def start() -> int:
    tracemalloc.reset_peak()
    return tracemalloc.get_traced_memory()[0]


@pytest.mark.usefixtures("allocation")
def test_reading_a_request_copies_nothing() -> None:
    message = infer_request("echo", {"x": ("UINT8", (1, WIDTH), bytes(WIDTH))}).SerializeToString()
    base = start()
    request = RequestReader(RequestParser(service_pb2.ModelInferRequest, MessageLimits())).read(message)
    assert request.contents[0].obj is message
    assert copies_since(base, WIDTH) < SLACK


@pytest.mark.usefixtures("allocation")
def test_a_batch_in_a_message_is_copied_no_more_than_its_answer() -> None:
    key = key_of("echo", ("x", "UINT8", (WIDTH,)))
    batch = batch_of(key, *((bytes(WIDTH),) for _ in range(ROWS)))
    contract = read_contract("a:1", ["1"], echo_config(width=WIDTH))
    base = start()
    write_request("echo", "", batch_inputs(batch, contract), [])
    assert copies_since(base, ROWS * WIDTH) < SLACK
    response = service_pb2.ModelInferResponse(model_name="echo", model_version="1")
    response.outputs.add(name="y", datatype="UINT8", shape=[ROWS, WIDTH])
    response.raw_output_contents.append(bytes(ROWS * WIDTH))
    message = bytearray(response.SerializeToString())
    base = start()
    result = share_out(AnswerReader().read(message), batch, contract, {})
    assert copies_since(base, ROWS * WIDTH) < SLACK
    assert all(outputs[0].data.obj is message for outputs in result.outputs if isinstance(outputs[0].data, memoryview))


@pytest.mark.usefixtures("allocation")
def test_a_request_through_shared_memory_carries_no_pixels() -> None:
    key = key_of("echo", ("x", "UINT8", (WIDTH,)))
    batch = batch_of(key, (bytes(WIDTH),))
    contract = read_contract("a:1", ["1"], echo_config(width=WIDTH))
    base = start()
    (tensor,) = batch_inputs(batch, contract)
    place = Place("region", 0, WIDTH)
    placed = type(tensor)(tensor.name, tensor.datatype, tensor.shape, place=place)
    message = write_request("echo", "", [placed], [OutputRequest("y", place)])
    assert sum(map(len, message)) < 300
    assert copies_since(base, WIDTH) < SLACK


@pytest.mark.usefixtures("allocation")
def test_an_answer_leaves_without_a_copy() -> None:
    slab = memoryview(bytearray(WIDTH))
    tensor = Tensor("y", "UINT8", (1, WIDTH), slab)
    base = start()
    body = body_of(ResponseWriter().write(InferResponse("echo", "1", "", (tensor,), ())))
    assert copies_since(base, WIDTH) < SLACK
    ((prefix, data),) = body
    assert isinstance(data, memoryview)
    assert data.obj is slab.obj
    message = service_pb2.ModelInferResponse.FromString(prefix[PREFIX_BYTES:] + bytes(data))
    assert message.raw_output_contents == [bytes(WIDTH)]


@pytest.mark.usefixtures("allocation")
def test_an_answer_of_a_stream_is_written_with_one_copy() -> None:
    tensor = Tensor("y", "UINT8", (1, WIDTH), memoryview(bytes(WIDTH)))
    base = start()
    message = join_and_release(ResponseWriter().write(InferResponse("echo", "1", "", (tensor,), ())))
    assert 1 <= copies_since(base, WIDTH) < 1 + SLACK
    assert service_pb2.ModelInferResponse.FromString(message).raw_output_contents == [bytes(WIDTH)]


@pytest.mark.usefixtures("allocation")
def test_reading_a_photos_request_copies_nothing() -> None:
    photo = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=bytes(WIDTH), mime_type="image/jpeg"))
    message, item = photo.SerializeToString(), pb.StreamRemoveBackgroundRequest(item_id="a", request=photo)
    of_a_stream = item.SerializeToString()
    reader = PhotoReader(MessageLimits())
    base = start()
    views = (request_from(*reader.request(message)).photo, reader.item(of_a_stream).photo)
    assert copies_since(base, WIDTH) < SLACK
    assert isinstance(views[0], EncodedPhoto)
    assert isinstance(views[0].content, memoryview)
    assert views[0].content.obj is message
    assert views[1] is not None
    assert views[1].obj is of_a_stream


@pytest.mark.usefixtures("allocation")
def test_a_photos_result_leaves_without_a_copy() -> None:
    results = memoryview(bytearray(WIDTH))
    output = RenderedOutput(results, 1024, 1024, mime_type="image/png")
    answer = MattingAnswer((output,), Subject(found=False, box=None, area_share=0.0), "u2net", "1", 0.0, 0.0)
    base = start()
    body = body_of(item_pieces("a", answer_pieces(answer, total_s=0.1)))
    assert copies_since(base, WIDTH) < SLACK
    assert [data.obj for _, data in body if isinstance(data, memoryview)] == [results.obj]
