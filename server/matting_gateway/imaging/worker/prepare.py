# SPDX-License-Identifier: Apache-2.0
"""A decoded photo to what the model takes and what the results will need."""

from dataclasses import dataclass

import cv2
import numpy as np
from matting_pixels.arrays import Pixels
from matting_pixels.fit import into_grid, shrink
from matting_pixels.placement import Placement
from open_inference.tensors import Buffer
from PIL import Image

from matting_gateway.imaging.color.pixels import Decoded, orient, to_8_bit
from matting_gateway.imaging.plan import DecodePlan
from matting_gateway.imaging.worker.canvas import Canvas, PrivateCanvas
from matting_gateway.imaging.worker.decode import decode

_PRIVATE = PrivateCanvas()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prepared:
    """What comes of one photo.

    Attributes:
        model_pixels: uint8 RGB [h, w, 3] in the model's grid, padding included; None of a background.
        color: The colour kept, oriented, [H, W, 3] uint8 or uint16; None where no result needs it.
        alpha: The photo's own alpha [H, W] uint8 or uint16; None where it has none.
    """

    model_pixels: Pixels | None
    color: Pixels | None
    alpha: Pixels | None


def prepare_file(content: Buffer, plan: DecodePlan, canvas: Canvas = _PRIVATE) -> Prepared:
    """Decode a file as planned, and make the model's input.

    What is kept of the picture is put, oriented, into what the canvas makes room for. Raises what `decode` raises.
    """
    orientation = plan.header.orientation
    if not plan.keep_color or orientation == 1:
        decoded = decode(content, plan, canvas if plan.keep_color else _PRIVATE)
    else:
        decoded = _oriented(decode(content, plan), plan, canvas)
        orientation = 1
    return prepare_pixels(decoded, plan.placement, orientation, plan.keep_color, plan.exact)


def _oriented(decoded: Decoded, plan: DecodePlan, canvas: Canvas) -> Decoded:
    orientation, dtype = plan.header.orientation, decoded.color.dtype
    color = orient(decoded.color, orientation, canvas.color(plan.height_px, plan.width_px, dtype))
    if decoded.alpha is None:
        return Decoded(color, None)
    return Decoded(color, orient(decoded.alpha, orientation, canvas.alpha(plan.height_px, plan.width_px, dtype)))


def prepare_pixels(
    decoded: Decoded, placement: Placement | None, orientation: int, keep_color: bool, exact: bool
) -> Prepared:
    """Make the model's input, and keep what is asked for, oriented."""
    alpha = None if decoded.alpha is None else orient(decoded.alpha, orientation)
    if placement is None:
        return Prepared(None, orient(decoded.color, orientation), alpha)
    if keep_color:
        color = orient(decoded.color, orientation)
        return Prepared(_for_model(color, alpha, placement, exact), color, alpha)
    # Without colour to keep it is cheaper to turn the small picture than the large one.
    small = _for_model(decoded.color, decoded.alpha, _turn(placement, orientation), exact)
    return Prepared(np.ascontiguousarray(orient(small, orientation)), None, alpha)


def _turn(placement: Placement, orientation: int) -> Placement:
    """Return the placement as seen before the orientation is applied; centred, so mirroring changes nothing else."""
    if orientation >= 5:
        placement = Placement(
            placement.grid_height_px,
            placement.grid_width_px,
            placement.top_px,
            placement.left_px,
            placement.height_px,
            placement.width_px,
        )
    left, top = placement.left_px, placement.top_px
    if orientation in (2, 3, 7, 8):
        left = placement.grid_width_px - placement.width_px - left
    if orientation in (3, 4, 6, 7):
        top = placement.grid_height_px - placement.height_px - top
    return Placement(
        placement.grid_width_px, placement.grid_height_px, left, top, placement.width_px, placement.height_px
    )


def _for_model(color: Pixels, alpha: Pixels | None, placement: Placement, exact: bool) -> Pixels:
    if exact:
        image = Image.fromarray(to_8_bit(color)).resize(
            (placement.width_px, placement.height_px), Image.Resampling.LANCZOS
        )
        return into_grid(np.asarray(image), placement)
    small = to_8_bit(shrink(color, placement.width_px, placement.height_px))
    if alpha is not None:
        small = _over_white(small, to_8_bit(shrink(alpha, placement.width_px, placement.height_px)))
    return into_grid(small, placement)


def _over_white(color: Pixels, alpha: Pixels) -> Pixels:
    """What people see of a transparent picture; the colour under alpha 0 may be anything."""
    weight = cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB).astype(np.float32) / 255.0
    return np.rint(255.0 + weight * (color.astype(np.float32) - 255.0)).astype(np.uint8)
