# SPDX-License-Identifier: Apache-2.0
"""Where a photo lies in a model's input, and how large results are: sums without pixels."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the photo lies in a model's grid of `grid_width_px` by `grid_height_px`; the rest is padding."""

    grid_width_px: int
    grid_height_px: int
    left_px: int
    top_px: int
    width_px: int
    height_px: int

    @property
    def fills_grid(self) -> bool:
        return (self.width_px, self.height_px) == (self.grid_width_px, self.grid_height_px)


def stretch(grid_width_px: int, grid_height_px: int) -> Placement:
    """Fill the grid, each side on its own."""
    return Placement(grid_width_px, grid_height_px, 0, 0, grid_width_px, grid_height_px)


def letterbox(
    photo_width_px: int, photo_height_px: int, grid_width_px: int, grid_height_px: int, *, top_left: bool = False
) -> Placement:
    """Fit inside the grid with the aspect kept, in the middle or in the top left corner."""
    scale = min(grid_width_px / photo_width_px, grid_height_px / photo_height_px)
    width = min(grid_width_px, max(1, round(photo_width_px * scale)))
    height = min(grid_height_px, max(1, round(photo_height_px * scale)))
    left, top = (0, 0) if top_left else ((grid_width_px - width) // 2, (grid_height_px - height) // 2)
    return Placement(grid_width_px, grid_height_px, left, top, width, height)


def keep_aspect(photo_width_px: int, photo_height_px: int, short_side_px: int, multiple_px: int) -> Placement:
    """Make the shorter side `short_side_px` and both sides a multiple of `multiple_px`; the grid is as large as that.

    The longer side is at most eight times the shorter, so that a strip of a photo cannot ask for an endless input.
    """
    scale = short_side_px / min(photo_width_px, photo_height_px)

    def side(photo_px: int) -> int:
        wanted = min(photo_px * scale, 8.0 * short_side_px)
        return max(1, round(wanted / multiple_px)) * multiple_px

    return stretch(side(photo_width_px), side(photo_height_px))


def capped_size(width_px: int, height_px: int, max_side_px: int) -> tuple[int, int]:
    """Return the size scaled down so that neither side is longer than `max_side_px` (0: as it is), never up."""
    longest = max(width_px, height_px)
    if max_side_px == 0 or longest <= max_side_px:
        return width_px, height_px
    scale = max_side_px / longest
    return max(1, round(width_px * scale)), max(1, round(height_px * scale))
