# SPDX-License-Identifier: Apache-2.0
"""The photo door's messages, with pictures as views, are what protobuf makes of the same bytes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.domain.photo import (
    Box,
    EncodedPhoto,
    MattingAnswer,
    MattingRequest,
    PixelFormat,
    RawPhoto,
    Refinement,
    RenderedOutput,
    Subject,
)
from matting_gateway.errors import GatewayError
from matting_gateway.rpc.photo.conversions import request_from
from matting_gateway.rpc.photo.photo_wire import PhotoReader, answer_pieces, item_pieces
from open_inference.message_limits import MessageLimits

READER = PhotoReader(MessageLimits())
CONTENT = b"the bytes of a file"


def encoded(priority: pb.Priority = pb.PRIORITY_UNSPECIFIED) -> pb.RemoveBackgroundRequest:
    image = pb.EncodedImage(content=CONTENT, mime_type="image/jpeg")
    return pb.RemoveBackgroundRequest(encoded=image, priority=priority)


def pixels(data: bytes = bytes(12)) -> pb.RemoveBackgroundRequest:
    image = pb.PixelImage(data=data, width_px=2, height_px=2, pixel_format=pb.PIXEL_FORMAT_RGB8)
    return pb.RemoveBackgroundRequest(pixels=image)


requests = st.builds(
    pb.RemoveBackgroundRequest,
    encoded=st.none() | st.builds(pb.EncodedImage, content=st.binary(max_size=40), mime_type=st.text(max_size=8)),
    model=st.none() | st.builds(pb.ModelRef, name=st.text(max_size=8), version=st.text(max_size=3)),
    outputs=st.lists(st.builds(pb.OutputSpec, kind=st.integers(0, 3), max_side_px=st.integers(0, 99)), max_size=3),
    priority=st.integers(0, 3),
) | st.builds(
    pb.RemoveBackgroundRequest,
    pixels=st.builds(
        pb.PixelImage, data=st.binary(max_size=40), width_px=st.integers(0, 9), pixel_format=st.integers(0, 5)
    ),
)


def said(read: PhotoReader, data: bytes) -> MattingRequest | tuple[str, str]:
    """Return what a request says as the door reads it, or the reason why it says nothing."""
    try:
        return comparable(request_from(*read.request(data)))
    except GatewayError as error:
        return error.reason, error.message


def said_by_protobuf(data: bytes) -> MattingRequest | tuple[str, str] | None:
    try:
        return comparable(request_from(pb.RemoveBackgroundRequest.FromString(data)))
    except GatewayError as error:
        return error.reason, error.message
    except Exception:  # noqa: BLE001 - protobuf's error for what is no message has no one type
        return None


def comparable(request: MattingRequest) -> MattingRequest:
    photo = request.photo
    if isinstance(photo, EncodedPhoto):
        photo = EncodedPhoto(bytes(photo.content), photo.mime_type)
    else:
        photo = RawPhoto(bytes(photo.data), photo.width_px, photo.height_px, photo.pixel_format)
    return MattingRequest(photo, request.outputs, request.model, request.version, request.priority)


@pytest.mark.parametrize("message", [encoded(), pixels()])
def test_the_photo_is_a_view_of_what_arrived(message: pb.RemoveBackgroundRequest) -> None:
    data = message.SerializeToString()
    photo = READER.request(data).photo
    assert photo is not None
    assert photo.obj is data
    request = request_from(*READER.request(data))
    assert comparable(request) == comparable(request_from(message))


@pytest.mark.slow
@given(st.lists(requests, min_size=1, max_size=3))
def test_requests_one_after_the_other_are_merged_as_by_protobuf(messages: list[pb.RemoveBackgroundRequest]) -> None:
    data = b"".join(message.SerializeToString() for message in messages)
    assert said(READER, data) == said_by_protobuf(data)


@pytest.mark.slow
@given(requests, st.integers(0, 2**32))
def test_a_damaged_request_says_what_it_says_to_protobuf_or_nothing(
    message: pb.RemoveBackgroundRequest, seed: int
) -> None:
    chance = random.Random(seed)
    data = bytearray(message.SerializeToString() or b"\0")
    for _ in range(chance.randint(1, 3)):
        data[chance.randrange(len(data))] = chance.randrange(256)
    expected, found = said_by_protobuf(bytes(data)), said(READER, bytes(data))
    if expected is None:
        assert found == (
            "OPTION_INVALID",
            "The request is not a matting.v1.RemoveBackgroundRequest message: protobuf cannot read it.",
        )
    else:
        assert found == expected


def test_a_photo_that_a_later_one_replaces_is_not_taken() -> None:
    both = encoded().SerializeToString() + pixels().SerializeToString()
    assert said(READER, both) == said_by_protobuf(both)
    emptied = both + pb.RemoveBackgroundRequest(encoded=pb.EncodedImage()).SerializeToString()
    assert said(READER, emptied) == ("OPTION_INVALID", "encoded.content is empty; send the bytes of a file.")


def test_an_item_of_a_stream_has_its_photo_as_a_view_of_what_arrived() -> None:
    data = pb.StreamRemoveBackgroundRequest(item_id="a", request=encoded(pb.PRIORITY_LOW)).SerializeToString()
    item = READER.item(data)
    assert item.photo is not None
    assert item.photo.obj is data
    assert bytes(item.photo) == CONTENT
    assert item.message.item_id == "a"
    assert item.message.request == pb.RemoveBackgroundRequest(
        encoded=pb.EncodedImage(mime_type="image/jpeg"), priority=pb.PRIORITY_LOW
    )


@pytest.mark.parametrize("last", ["request", "cancel"])
def test_of_a_request_and_a_cancel_in_one_item_the_last_counts(last: str) -> None:
    parts = {
        "request": pb.StreamRemoveBackgroundRequest(item_id="a", request=encoded()).SerializeToString(),
        "cancel": pb.StreamRemoveBackgroundRequest(cancel=pb.CancelItem()).SerializeToString(),
    }
    first = parts["cancel" if last == "request" else "request"]
    item = READER.item(first + parts[last])
    assert item.message.WhichOneof("action") == last
    assert item.photo is None
    if last == "request":
        assert item.message.request.encoded.content == CONTENT


results = st.builds(
    RenderedOutput,
    st.binary(min_size=1, max_size=300).map(memoryview),
    st.integers(1, 5000),
    st.integers(1, 5000),
    mime_type=st.sampled_from(["image/png", "image/webp"]),
    refinement=st.sampled_from(Refinement),
) | st.builds(
    RenderedOutput,
    st.binary(min_size=1, max_size=300).map(memoryview),
    st.integers(1, 5000),
    st.integers(1, 5000),
    pixel_format=st.sampled_from(PixelFormat),
)


@pytest.mark.slow
@given(st.lists(results, min_size=1, max_size=3), st.none() | st.builds(Box, *[st.integers(0, 9)] * 4))
def test_an_answer_in_pieces_is_the_message_that_protobuf_writes(
    outputs: list[RenderedOutput], box: Box | None
) -> None:
    answer = MattingAnswer(tuple(outputs), Subject(box is not None, box, 0.25), "u2net", "1", 0.5, 1.5)
    pieces = answer_pieces(answer, total_s=2.0)
    message = pb.RemoveBackgroundResponse.FromString(b"".join(pieces))
    assert message.SerializeToString(deterministic=True) == b"".join(pieces)
    for output, told in zip(outputs, message.outputs, strict=True):
        is_file = output.pixel_format is None
        assert told.WhichOneof("result") == ("encoded" if is_file else "pixels")
        assert (told.encoded.content if is_file else told.pixels.data) == output.data
        assert told.encoded.mime_type == output.mime_type
        assert (told.width_px, told.height_px) == (output.width_px, output.height_px)
        assert pb.Refinement.Name(told.refinement_applied) == f"REFINEMENT_{output.refinement.name}"
        if output.pixel_format is not None:
            assert pb.PixelFormat.Name(told.pixels.pixel_format) == f"PIXEL_FORMAT_{output.pixel_format.name}"
            assert (told.pixels.width_px, told.pixels.height_px) == (output.width_px, output.height_px)
        assert any(piece is output.data for piece in pieces)
    assert (message.model.name, message.model.version) == ("u2net", "1")
    assert message.subject.HasField("box") == (box is not None)
    assert message.timings.total_duration.ToMilliseconds() == 2000
    item = pb.StreamRemoveBackgroundResponse.FromString(b"".join(item_pieces("a", pieces)))
    assert item == pb.StreamRemoveBackgroundResponse(item_id="a", response=message)
