# SPDX-License-Identifier: Apache-2.0
"""Requests for photos in and their answers out, with the pictures as views: no message object holds a copy of one.

The photo is cut out of a request, and protobuf reads the rest; of an answer protobuf writes all but the pictures. A
request in which the photo is not just once where it belongs is left to protobuf as a whole, which knows what comes of
fields that are there twice. Tests hold both ways to saying the same.
"""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from matting.v1 import matting_service_pb2 as pb
from open_inference import wire
from open_inference.message_limits import MessageLimits
from open_inference.tensors import Buffer

from matting_gateway.domain.photo import MattingAnswer, RenderedOutput, Subject
from matting_gateway.rpc.boundary.request_parser import RequestParser
from matting_gateway.rpc.boundary.status import duration

# Members of one `oneof`: where one of them is there but once, it is what the message says.
_ACTIONS = frozenset(
    {pb.StreamRemoveBackgroundRequest.REQUEST_FIELD_NUMBER, pb.StreamRemoveBackgroundRequest.CANCEL_FIELD_NUMBER}
)
# Of either kind of photo, the field that has its bytes.
_PICTURES: Mapping[int, int] = {
    pb.RemoveBackgroundRequest.ENCODED_FIELD_NUMBER: pb.EncodedImage.CONTENT_FIELD_NUMBER,
    pb.RemoveBackgroundRequest.PIXELS_FIELD_NUMBER: pb.PixelImage.DATA_FIELD_NUMBER,
}


class PhotoRequest(NamedTuple):
    """A request; `photo` is what was cut out of it, as a view of what arrived. None: the message has it."""

    message: pb.RemoveBackgroundRequest
    photo: memoryview | None


class PhotoItem(NamedTuple):
    """A message of a stream, and likewise the photo of its request."""

    message: pb.StreamRemoveBackgroundRequest
    photo: memoryview | None


class PhotoReader:
    """Reads what the photo door is sent.

    Args:
        limits: What a message may have.
    """

    def __init__(self, limits: MessageLimits) -> None:
        self._requests = RequestParser(pb.RemoveBackgroundRequest, limits)
        self._items = RequestParser(pb.StreamRemoveBackgroundRequest, limits)

    def request(self, data: Buffer) -> PhotoRequest:
        """Read the message of RemoveBackground.

        Raises:
            OptionInvalidError: It is none, or has more than it may.
        """
        self._requests.check(data)
        rest, photo = _cut_request(memoryview(data))
        return PhotoRequest(self._requests.parse(rest), photo)

    def item(self, data: Buffer) -> PhotoItem:
        """Read a message of StreamRemoveBackground.

        Raises:
            OptionInvalidError: It is none, or has more than it may.
        """
        self._items.check(data)
        rest, photo = _cut_item(memoryview(data))
        return PhotoItem(self._items.parse(rest), photo)


class _Field(NamedTuple):
    """A field of a message, and where it, and its value, start and end there."""

    number: int
    start: int
    value: int
    end: int


def _only(message: memoryview, numbers: Collection[int]) -> _Field | None:
    """Return the only field of a message that is one of these and has a length, or None."""
    found, start = None, 0
    try:
        for tag, value, end in wire.fields(message):
            if tag & 7 in (wire.START_GROUP, wire.END_GROUP):
                return None
            if tag >> 3 in numbers:
                if found is not None or tag & 7 != wire.LENGTH_DELIMITED:
                    return None
                found = _Field(tag >> 3, start, value, end)
            start = end
    except wire.MalformedMessageError:
        return None
    return found


def _cut_item(message: memoryview) -> tuple[Buffer, memoryview | None]:
    """Take the photo out of an item's request, or leave all as it is."""
    action = _only(message, _ACTIONS)
    if action is None or action.number != pb.StreamRemoveBackgroundRequest.REQUEST_FIELD_NUMBER:
        return message, None
    rest, photo = _cut_request(message[action.value : action.end])
    return (message if photo is None else _with_other_value(message, action, rest)), photo


def _cut_request(message: memoryview) -> tuple[Buffer, memoryview | None]:
    """Take the photo out of a request, or leave all as it is."""
    source = _only(message, _PICTURES)
    if source is None:
        return message, None
    image = message[source.value : source.end]
    picture = _only(image, (_PICTURES[source.number],))
    if picture is None:
        return message, None
    rest = b"".join((image[: picture.start], image[picture.end :]))
    return _with_other_value(message, source, rest), image[picture.value : picture.end]


def _with_other_value(message: memoryview, field: _Field, value: Buffer) -> bytes:
    return b"".join((message[: field.start], wire.head(field.number, len(value)), value, message[field.end :]))


def answer_pieces(answer: MattingAnswer, *, total_s: float) -> list[Buffer]:
    """Return a RemoveBackgroundResponse in pieces, among them the results as they are."""
    pieces: list[Buffer] = []
    for output in answer.outputs:
        pieces += _output_pieces(output)
    rest = pb.RemoveBackgroundResponse(
        model=pb.ModelRef(name=answer.model, version=answer.version),
        subject=_subject_to(answer.subject),
        timings=pb.Timings(
            queue_duration=duration(answer.queue_s),
            inference_duration=duration(answer.inference_s),
            total_duration=duration(total_s),
        ),
    )
    return [*pieces, rest.SerializeToString()]


def item_pieces(item_id: str, answer: list[Buffer]) -> list[Buffer]:
    """Return the StreamRemoveBackgroundResponse with an item's answer, in pieces."""
    beginning = pb.StreamRemoveBackgroundResponse(item_id=item_id).SerializeToString()
    return [beginning, *wire.in_field(pb.StreamRemoveBackgroundResponse.RESPONSE_FIELD_NUMBER, answer)]


def _output_pieces(output: RenderedOutput) -> list[Buffer]:
    """Return one `outputs` of a response."""
    applied = f"REFINEMENT_{output.refinement.name}"
    rest = pb.Output(width_px=output.width_px, height_px=output.height_px, refinement_applied=applied)
    if output.pixel_format is None:
        number, content_number = pb.Output.ENCODED_FIELD_NUMBER, pb.EncodedImage.CONTENT_FIELD_NUMBER
        behind = pb.EncodedImage(mime_type=output.mime_type).SerializeToString()
    else:
        number, content_number = pb.Output.PIXELS_FIELD_NUMBER, pb.PixelImage.DATA_FIELD_NUMBER
        pixels = pb.PixelImage(
            width_px=output.width_px,
            height_px=output.height_px,
            pixel_format=f"PIXEL_FORMAT_{output.pixel_format.name}",
        )
        behind = pixels.SerializeToString()
    image = wire.in_field(number, [*wire.in_field(content_number, [output.data]), behind])
    return wire.in_field(pb.RemoveBackgroundResponse.OUTPUTS_FIELD_NUMBER, [*image, rest.SerializeToString()])


def _subject_to(subject: Subject) -> pb.Subject:
    box = None
    if subject.box is not None:
        b = subject.box
        box = pb.Box(left_px=b.left_px, top_px=b.top_px, width_px=b.width_px, height_px=b.height_px)
    return pb.Subject(found=subject.found, box=box, area_share=subject.area_share)
