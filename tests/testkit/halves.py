# SPDX-License-Identifier: Apache-2.0
"""A gateway for tests of what makes files of its answers: the subject is the left half of whatever comes."""

import io

import numpy as np
from matting.v1 import matting_service_pb2 as pb
from numpy.typing import NDArray
from PIL import Image

from testkit.fake_gateway import make_answer

GREEN, RED = (20, 180, 40), (200, 30, 20)


def png(pixels: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return pixels as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def plain_photo(color: tuple[int, int, int] = GREEN) -> bytes:
    """Return a photo of 30 x 20 pixels of one colour."""
    return png(np.full((20, 30, 3), color, np.uint8))


def answer_left_half(request: pb.RemoveBackgroundRequest) -> pb.RemoveBackgroundResponse:
    """Answer an alpha with a real one, of a grid as large as the photo: the left half is the subject."""
    response = make_answer(request)
    if not request.outputs or request.outputs[0].kind in (pb.OUTPUT_KIND_ALPHA, pb.OUTPUT_KIND_UNSPECIFIED):
        width, height = Image.open(io.BytesIO(request.encoded.content)).size
        alpha = np.zeros((height, width), np.uint8)
        alpha[:, : width // 2] = 255
        response.outputs[0].encoded.content = png(alpha)
        response.outputs[0].refinement_applied = pb.REFINEMENT_NONE
        response.subject.box.CopyFrom(pb.Box(left_px=0, top_px=0, width_px=width // 2, height_px=height))
    return response
