# SPDX-License-Identifier: Apache-2.0
"""Tells an alpha from whatever else networks answer, by the shape of what one really answers."""

from collections.abc import Sequence
from dataclasses import dataclass

from matting_models.errors import InterfaceError

# A map with fewer than one value for each 8x8 pixels is too coarse for a matte.
_COARSEST = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """How a network's answer holds its alpha.

    `channel_axis` is the axis of the one channel, None where the answer has none. `is_full_size` says whether the alpha
    has the picture's own size.
    """

    channel_axis: int | None
    is_full_size: bool


def require_alpha(name: str, shape: Sequence[int], sides_px: tuple[int, int]) -> Answer:
    """What the output `name` is, which answered one picture of these (height, width) with `shape`.

    Raises:
        InterfaceError: it is no alpha; the message tells what it looks like.
    """
    found = f"Output {name} answers a photo of {sides_px[1]}x{sides_px[0]} pixels with {list(shape)}"
    wanted = (
        "An alpha is one channel with the photo's own proportions: [N, 1, H, W], [N, H, W, 1] or [N, H, W]. Name "
        "another output with --output if one is the alpha."
    )
    row = list(shape[1:])
    larger = [size for size in row if size > 1]
    if len(larger) < 2:
        count = larger[0] if larger else 1
        raise InterfaceError(
            f"{found}: {count} number(s) for the whole picture, as classifiers answer; this is no matting network. "
            f"{wanted}"
        )
    if len(row) not in (2, 3) or shape[0] != 1:
        raise InterfaceError(f"{found}, which is no alpha. {wanted}")
    axis = None if len(row) == 2 else _channel_axis(row)
    if len(row) == 3 and axis is None:
        for channel_count, sides in ((row[0], (row[1], row[2])), (row[2], (row[0], row[1]))):
            if _are_proportional(sides, sides_px):
                raise InterfaceError(f"{found}: {channel_count} channels, where one was expected. {wanted}")
        raise InterfaceError(f"{found}: a table of numbers, as detectors answer; this is no matting network. {wanted}")
    height, width = [size for index, size in enumerate(row, start=1) if index != axis]
    if not _are_proportional((height, width), sides_px):
        what = "its height and width do not follow the photo's"
        raise InterfaceError(f"{found}: {what}, as in detectors' tables; this is no matting network. {wanted}")
    if height * _COARSEST < sides_px[0]:
        raise InterfaceError(f"{found}: coarser than one value for {_COARSEST}x{_COARSEST} pixels. {wanted}")
    return Answer(axis, (height, width) == sides_px)


def _channel_axis(row: Sequence[int]) -> int | None:
    """The axis of the one channel, the batch's axis counted; None where there are several channels."""
    if row[0] == 1:
        return 1
    return 3 if row[2] == 1 else None


def _are_proportional(sides: tuple[int, int], photo: tuple[int, int]) -> bool:
    """Whether `sides` are the photo's times one factor, but for rounding to whole pixels."""
    (height, width), (photo_height, photo_width) = sides, photo
    tall, wide = height / photo_height, width / photo_width
    return abs(tall - wide) * min(photo_height, photo_width) <= 2.0
