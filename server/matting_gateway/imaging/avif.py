# SPDX-License-Identifier: Apache-2.0
"""An AVIF writer that never packs a large picture as a whole, but cell by cell of a grid.

libaom takes 15 to 20 bytes for each pixel of the picture that it packs. A grid (ISO/IEC 23008-12, 6.6.2.3) is put
together by the reader from cells that are pictures of their own, so that here only one of them is packed at a time.
What cells must be like: ISO/IEC 23000-22 (MIAF), 7.3.11.4.2.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matting_pixels.arrays import Pixels

from matting_gateway.imaging.avif_planes import Sampling, new_planes
from matting_gateway.imaging.cancellation import check_wanted
from matting_gateway.imaging.heif import Item, SinglePicture, full_box, read_single, write_file
from matting_gateway.imaging.png import FillRows

# Up to here one picture is cheap enough, and every program shows it; some know no grids.
LARGEST_SINGLE_PX = 4 << 20
# Of such cells all that libaom takes are blocks that the allocator keeps for the next one, 10 MB in all; larger cells
# pack 2% better.
_LONGEST_CELL_SIDE_PX = 512
_CELL_STEP_PX = 64
_MOST_IN_16_BITS = (1 << 16) - 1
# What writing takes for each pixel: a single picture; of a grid, by whether it has even sides, its file twice, at its
# largest. And for each pixel of a row of cells, its planes; for one cell, its encoder.
_SINGLE_BYTES = 30
_GRID_FILE_BYTES = {True: 7, False: 11}
_PLANE_BYTES = 4
_CELL_BYTES = 16 << 20
_ALPHA = full_box(b"auxC", b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")


@dataclass(frozen=True, slots=True)
class Grid:
    """How a picture is cut into cells of one size, of which the last ones may reach beyond it; in pixels."""

    columns: int
    rows: int
    cell_width: int
    cell_height: int

    @staticmethod
    def of(width: int, height: int) -> "Grid":
        """Cut a picture as evenly as sides that are multiples of 64 allow."""
        cell_width, cell_height = _cell_side(width), _cell_side(height)
        return Grid(-(-width // cell_width), -(-height // cell_height), cell_width, cell_height)


def encode_avif_rows(width: int, height: int, fill: FillRows, *, has_alpha: bool, is_gray: bool, quality: int) -> bytes:
    """Write an AVIF in sRGB whose rows of uint8 RGBA are made when they are needed.

    Its colour is 4:2:0, or gray; in a grid with an odd side it is 4:4:4, as grids of 4:2:0 have even sides.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        fill: Makes rows, from the top one on; the last one more than once.
        has_alpha: Whether the rows' alpha is wanted.
        is_gray: Whether the rows are gray.
        quality: 1 to 100, of the colour and of the alpha.

    Raises:
        AvifError: It cannot be written.
        HeifError: libavif wrote a cell in another form than expected.
        MemoryError: More is needed than may be taken.
        AbandonedError: Nobody waits for it any more.
    """
    sampling = Sampling.GRAY if is_gray else Sampling.HALVED
    if width * height <= LARGEST_SINGLE_PX:
        with new_planes(width, height, sampling, has_alpha=has_alpha) as planes:
            planes.fill(fill)
            return planes.write(quality)
    if not is_gray and (width % 2 or height % 2):
        sampling = Sampling.FULL
    grid = Grid.of(width, height)
    colors, alphas = _encode_cells(grid, _padded(fill, width, height), sampling, has_alpha, quality)
    return _join(grid, width, height, colors, alphas)


def most_bytes(width: int, height: int, *, or_less: bool) -> int:
    """Return the most memory that writing a picture takes, its file included, the rows' source not.

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        or_less: Whether it may also come out smaller.
    """
    area = width * height
    if not or_less and area <= LARGEST_SINGLE_PX:
        return _SINGLE_BYTES * area
    grid = Grid.of(width, height)
    is_even = not or_less and width % 2 == height % 2 == 0
    planes = _PLANE_BYTES * grid.columns * grid.cell_width * grid.cell_height
    whole = _GRID_FILE_BYTES[is_even] * area + planes + _CELL_BYTES
    return max(whole, _SINGLE_BYTES * min(area, LARGEST_SINGLE_PX)) if or_less else whole


def _cell_side(side: int) -> int:
    count = -(-side // _LONGEST_CELL_SIDE_PX)
    return -(-side // (count * _CELL_STEP_PX)) * _CELL_STEP_PX


def _padded(fill: FillRows, width: int, height: int) -> FillRows:
    """Return what fills rows of a larger picture too, beyond its edges with what is there."""

    def padded(out: Pixels, top: int) -> None:
        top = min(top, height - 1)
        count = min(out.shape[0], height - top)
        fill(out[:count, :width], top)
        out[:count, width:] = out[:count, width - 1 : width]
        out[count:] = out[count - 1]

    return padded


def _encode_cells(
    grid: Grid, fill: FillRows, sampling: Sampling, has_alpha: bool, quality: int
) -> tuple[list[SinglePicture], list[SinglePicture]]:
    """Return the cells row by row, of the colour and of the alpha."""
    colors: list[SinglePicture] = []
    alphas: list[SinglePicture] = []
    width, height = grid.cell_width, grid.cell_height
    with new_planes(grid.columns * width, height, sampling, has_alpha=has_alpha) as planes:
        for row in range(grid.rows):
            planes.fill(fill, row * height)
            for left in range(0, grid.columns * width, width):
                check_wanted()
                colors.append(read_single(planes.write_color(left, width, quality)))
                if has_alpha:
                    alphas.append(read_single(planes.write_alpha(left, width, quality)))
    return colors, alphas


def _join(
    grid: Grid, width: int, height: int, colors: Sequence[SinglePicture], alphas: Sequence[SinglePicture]
) -> bytes:
    """Return the file: the grid of the colour with its cells, and that of the alpha with its own."""
    shared = [colors[0].properties[b"colr"]]
    items = _grid_items(1, grid, (width, height), colors, shared, {})
    if alphas:
        items += _grid_items(len(items) + 1, grid, (width, height), alphas, [_ALPHA], {b"auxl": [1]})
    return write_file(colors[0].file_type, items)


def _grid_items(
    number: int,
    grid: Grid,
    size: tuple[int, int],
    cells: Sequence[SinglePicture],
    shared: Sequence[bytes],
    references: Mapping[bytes, Sequence[int]],
) -> list[Item]:
    """Return a grid, which is the item of that number, and behind it its cells; `shared` are properties of both."""
    width, height = size
    is_long = max(size) > _MOST_IN_16_BITS
    layout = struct.pack(
        ">BBBBII" if is_long else ">BBBBHH", 0, is_long, grid.rows - 1, grid.columns - 1, width, height
    )
    cell_numbers = range(number + 1, number + 1 + len(cells))
    of_grid = [full_box(b"ispe", struct.pack(">II", width, height)), cells[0].properties[b"pixi"], *shared]
    whole = Item(b"grid", layout, of_grid, {**references, b"dimg": cell_numbers})
    return [whole, *(_cell_item(cell, shared) for cell in cells)]


def _cell_item(cell: SinglePicture, shared: Sequence[bytes]) -> Item:
    own = [cell.properties[kind] for kind in (b"ispe", b"pixi", b"av1C")]
    return Item(b"av01", cell.data, [*own, *shared], is_hidden=True)
