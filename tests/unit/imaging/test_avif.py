# SPDX-License-Identifier: Apache-2.0
"""AVIF strip by strip is, to the bit, what Pillow reads and writes in one piece; a grid shows what one piece does."""

import io
import os
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matting_gateway.domain import FileEncoding
from matting_gateway.errors import ImageUnreadableError
from matting_gateway.imaging import avif
from matting_gateway.imaging.cancellation import AbandonedError, watched
from matting_gateway.imaging.encode import encode_cutout, encode_file
from matting_pixels.compose import cutout
from matting_pixels.fit import resize
from PIL import Image
from testkit.decoding import prepared
from testkit.photos import ellipse, sample_photo
from testkit.process_memory import PeakMemory

AVIF = FileEncoding("image/avif")
QUALITY = 85
SIZES = [(1, 1), (2, 1), (65, 129), (64, 128), (333, 517)]


def by_pillow(pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "AVIF", **{"quality": QUALITY, "speed": 9, "max_threads": 1} | options)
    return out.getvalue()


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_is_written_is_the_file_that_pillow_writes(width: int, height: int) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    assert encode_cutout(color, alpha, AVIF, QUALITY) == by_pillow(cutout(color, alpha))
    for pixels in (color, alpha, np.dstack([color, alpha])):
        assert encode_file(pixels, AVIF, QUALITY) == by_pillow(pixels)


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_what_is_read_are_the_pixels_that_pillow_reads(width: int, height: int, subsampling: str) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    for pixels in (color, np.dstack([color, alpha])):
        content = by_pillow(pixels, subsampling=subsampling)
        result = prepared(content)
        with Image.open(io.BytesIO(content)) as image:
            expected = np.asarray(image)
        assert np.array_equal(result.color, expected[..., :3])
        assert (result.alpha is None) == (pixels is color)
        assert result.alpha is None or np.array_equal(result.alpha, expected[..., 3])


def test_a_file_cut_off_in_its_picture_is_refused_in_words() -> None:
    content = by_pillow(sample_photo(65, 129))
    with pytest.raises(ImageUnreadableError, match="AVIF"):
        prepared(content[:-200])


@pytest.fixture
def small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write every picture in cells, of 128 x 128 at the most."""
    monkeypatch.setattr(avif, "LARGEST_SINGLE_PX", 0)
    monkeypatch.setattr(avif, "_LONGEST_CELL_SIDE_PX", 128)


def shown(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image).astype(int)


def mean_square(first: np.ndarray, second: np.ndarray) -> float:
    return float(((first - second) ** 2).mean())


def top_boxes(content: bytes) -> list[bytes]:
    kinds, at = [], 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        kinds.append(kind)
        at += size
    return kinds


@pytest.mark.usefixtures("small_cells")
@given(width=st.integers(1, 300), height=st.integers(1, 200), form=st.sampled_from(["cutout", "color", "gray", "RGBA"]))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_grid_of_any_size_shows_the_picture_as_well_as_one_piece_does(width: int, height: int, form: str) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    pixels = {"cutout": cutout(color, alpha), "color": color, "gray": alpha, "RGBA": np.dstack([color, alpha])}[form]
    content = encode_cutout(color, alpha, AVIF, QUALITY) if form == "cutout" else encode_file(pixels, AVIF, QUALITY)
    assert b"grid" in content
    assert top_boxes(content) == [b"ftyp", b"meta", b"mdat"]
    written, alone, expected = shown(content), shown(by_pillow(pixels)), pixels
    if written.ndim == 3 and written.shape[2] > alone.shape[2]:
        # In one piece an alpha that hides nothing is left out.
        assert written[..., 3].min() == 255
        written, expected = written[..., :3], expected[..., :3]
    assert written.shape == alone.shape
    assert mean_square(written, expected) <= 1.15 * mean_square(alone, expected) + 4.0


@pytest.mark.usefixtures("small_cells")
@pytest.mark.parametrize(("width", "height"), [(128, 64), (300, 200), (301, 199), (66, 517)])
def test_a_grid_is_read_here_as_pillow_reads_it(width: int, height: int) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    content = encode_cutout(color, alpha, AVIF, QUALITY)
    result, expected = prepared(content), shown(content)
    assert result.color is not None
    assert result.alpha is not None
    assert np.array_equal(result.color, expected[..., :3])
    assert np.array_equal(result.alpha, expected[..., 3])


def test_a_cell_is_packed_as_one_piece_is(small_cells: None) -> None:
    color, alpha = sample_photo(128, 64), resize(ellipse(320, 320, 0.46), 128, 64)
    content = encode_cutout(color, alpha, AVIF, QUALITY)
    assert np.array_equal(shown(content), shown(by_pillow(cutout(color, alpha))))


def test_a_grid_says_of_its_colour_what_one_piece_says(small_cells: None) -> None:
    color, alpha = sample_photo(300, 200), resize(ellipse(320, 320, 0.46), 300, 200)
    content, alone = encode_cutout(color, alpha, AVIF, QUALITY), by_pillow(cutout(color, alpha))
    nclx = alone[alone.index(b"colrnclx") :][:15]
    assert content.count(b"colr") == 1
    assert nclx in content
    for kind in (b"Exif", b"mime", b"prof"):
        assert kind not in content


def test_the_colour_under_alpha_0_is_blank_in_a_grid_too(small_cells: None) -> None:
    color = np.full((200, 300, 3), 255, np.uint8)
    alpha = np.zeros((200, 300), np.uint8)
    alpha[:, :64] = 255
    written = shown(encode_cutout(color, alpha, AVIF, QUALITY))
    assert written[:, 80:, :3].max() <= 2
    assert written[:, 80:, 3].max() == 0


def test_the_borders_of_cells_are_no_worse_than_those_of_blocks(small_cells: None) -> None:
    color = sample_photo(512, 384)
    error = shown(encode_file(color, AVIF, QUALITY)) - color
    steps = np.abs(np.diff(error, axis=1)).mean((0, 2))
    # Cells are 128 wide; blocks of 64 have their borders between those too.
    assert steps[127::128].mean() <= 1.3 * steps[63::128].mean()


def test_a_grid_that_nobody_waits_for_is_given_up_at_the_next_cell(small_cells: None) -> None:
    color, alpha = sample_photo(300, 200), resize(ellipse(320, 320, 0.46), 300, 200)
    abandoned = threading.Event()
    write = watched(lambda: encode_cutout(color, alpha, AVIF, QUALITY), abandoned)
    assert b"grid" in write()
    abandoned.set()
    with pytest.raises(AbandonedError):
        write()
    assert b"grid" in encode_cutout(color, alpha, AVIF, QUALITY)


def test_pictures_up_to_4_megapixels_are_one_piece_and_larger_ones_a_grid() -> None:
    flat = np.full((2049, 2048), 200, np.uint8)
    assert b"grid" not in encode_file(flat[:2048], AVIF, QUALITY)
    assert b"grid" in encode_file(flat, AVIF, QUALITY)


@given(width=st.integers(1, 65_536), height=st.integers(1, 65_536))
def test_cells_are_as_miaf_wants_them_and_none_lies_outside(width: int, height: int) -> None:
    grid = avif.Grid.of(width, height)
    assert grid.cell_width % 64 == grid.cell_height % 64 == 0
    assert min(grid.cell_width, grid.cell_height) >= 64
    assert max(grid.cell_width, grid.cell_height) <= 512
    assert max(grid.columns, grid.rows) <= 256
    assert 0 <= grid.columns * grid.cell_width - width < grid.cell_width
    assert 0 <= grid.rows * grid.cell_height - height < grid.cell_height


@pytest.fixture
def peak() -> Iterator[PeakMemory]:
    peak = PeakMemory([os.getpid()])
    yield peak
    peak.close()


@pytest.mark.parametrize(("width", "height"), [(2048, 2048), (2600, 1700), (2601, 1701)])
def test_what_writing_is_said_to_take_covers_noise_at_the_highest_quality(
    peak: PeakMemory, width: int, height: int
) -> None:
    noise = np.random.default_rng(0).integers(1, 256, (height, width, 4), np.uint8)
    encode_file(noise[:64, :64], AVIF, 100)
    peak.settle()
    with peak:
        encode_file(noise, AVIF, 100)
    assert peak.grown_bytes <= avif.most_bytes(width, height, or_less=False)
    assert avif.most_bytes(width, height, or_less=False) <= avif.most_bytes(width, height, or_less=True)
