# SPDX-License-Identifier: Apache-2.0
"""A lossy WebP has libwebp's own colour, to the bit, and its alpha reads back as it was; so does a lossless one."""

import io
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from matting_gateway.domain.photo import FileEncoding
from matting_gateway.errors import InternalError
from matting_gateway.imaging.writers import libwebp
from matting_gateway.imaging.writers.encode import encode_cutout, encode_file
from matting_gateway.imaging.writers.prefix_code import BitWriter, prefix_code
from matting_pixels.compose import cutout
from matting_pixels.fit import resize
from PIL import Image
from testkit.photos import ellipse, sample_photo

WEBP, LOSSLESS = FileEncoding("image/webp"), FileEncoding("image/webp", lossless=True)
QUALITY = 85
# A matte of every value, a few rows more than one strip of alpha, and of colour.
SIZES = [(1, 1), (2, 1), (1, 2), (65, 129), (64, 128), (333, 517), (1300, 250)]


def by_pillow(pixels: np.ndarray, encoding: FileEncoding = WEBP) -> bytes:
    """Return the file of libwebp's fastest method."""
    out = io.BytesIO()
    options = {"lossless": True, "quality": 0} if encoding.lossless else {"quality": QUALITY}
    Image.fromarray(pixels).save(out, "WEBP", method=0, exact=False, alpha_quality=100, **options)
    return out.getvalue()


def chunks(content: bytes) -> dict[bytes, bytes]:
    assert content[:4] == b"RIFF"
    assert int.from_bytes(content[4:8], "little") == len(content) - 8
    at, found = 12, {}
    while at < len(content):
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        found[content[at : at + 4]] = content[at + 8 : at + 8 + length]
        at += 8 + length + length % 2
    return found


def read(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGBA"))


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_the_colour_of_a_cutout_is_what_libwebp_makes_of_it_in_one_piece(width: int, height: int) -> None:
    color, alpha = sample_photo(width, height), resize(ellipse(320, 320, 0.46), width, height)
    ours, theirs = encode_cutout(color, alpha, WEBP, QUALITY), by_pillow(cutout(color, alpha))
    for kind in (b"VP8 ", b"VP8X"):
        assert chunks(ours).get(kind) == chunks(theirs).get(kind)
    assert np.array_equal(read(ours), read(theirs))


@pytest.mark.parametrize("shape", [(250, 130), (250, 130, 3)])
def test_a_picture_without_alpha_is_the_file_that_libwebp_makes(shape: tuple[int, ...]) -> None:
    pixels = sample_photo(130, 250) if len(shape) == 3 else ellipse(130, 250, 0.5)
    assert encode_file(pixels, WEBP, QUALITY) == by_pillow(pixels)


def test_an_opaque_cutout_has_no_alpha() -> None:
    color = sample_photo(40, 30)
    assert encode_cutout(color, np.full((30, 40), 255, np.uint8), WEBP, QUALITY) == by_pillow(color)


@pytest.mark.slow
@given(
    st.tuples(st.integers(1, 60), st.integers(1, 60)).flatmap(
        lambda shape: hnp.arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 3, 128, 254, 255]))
    )
)
@example(np.zeros((3, 5000), np.uint8))
@example(np.random.default_rng(0).integers(0, 256, (700, 500), np.uint8))
@example(np.repeat(np.arange(256, dtype=np.uint8), 5000).reshape(256, 5000))
def test_every_alpha_reads_back_to_the_bit(alpha: np.ndarray) -> None:
    color = np.full((*alpha.shape, 3), 99, np.uint8)
    assert np.array_equal(read(encode_cutout(color, alpha, WEBP, QUALITY))[..., 3], alpha)


@pytest.mark.slow
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(4)).flatmap(lambda shape: hnp.arrays(np.uint8, shape)),
    st.sampled_from([0, 3, 4]),
)
@example(np.zeros((3, 5000, 4), np.uint8), 4)
@example(np.random.default_rng(0).integers(0, 256, (700, 300, 4), np.uint8), 4)
@example(sample_photo(301, 555).repeat(2, axis=1)[..., [0, 1, 2, 0]], 3)
def test_every_lossless_picture_reads_back_to_the_bit(pixels: np.ndarray, samples: int) -> None:
    pixels = np.ascontiguousarray(pixels[..., :samples] if samples else pixels[..., 0])
    if samples == 4:
        pixels[pixels[..., 3] == 0] = 0
    with Image.open(io.BytesIO(encode_file(pixels, LOSSLESS, QUALITY))) as image:
        assert np.array_equal(np.asarray(image.convert({0: "L", 3: "RGB", 4: "RGBA"}[samples])), pixels)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [WEBP, LOSSLESS])
def test_a_cutout_packs_as_well_as_by_libwebps_fastest_method(encoding: FileEncoding) -> None:
    width, height = 1600, 1200
    matte = resize(ellipse(320, 320, 0.46), width, height)
    rough = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    color = sample_photo(width, height)
    for alpha in (matte, resize(rough, width, height), np.where(matte > 99, 255, 0).astype(np.uint8)):
        ours, theirs = encode_cutout(color, alpha, encoding, QUALITY), by_pillow(cutout(color, alpha), encoding)
        assert len(ours) <= 1.1 * len(theirs)


@pytest.mark.slow
def test_what_does_not_fit_in_one_part_of_a_file_is_written_in_several() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (2400, 3000, 3), np.uint8)
    content = encode_file(noise, FileEncoding("image/webp", quality=100), QUALITY)
    assert len(content) > 16 << 20
    assert np.abs(read(content)[..., :3].astype(int) - noise).mean() < 50


def test_a_library_that_refuses_is_an_error_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libwebp, "_ABI_VERSION", 0x0900)
    with pytest.raises(InternalError, match="image/webp"):
        encode_file(np.zeros((4, 4), np.uint8), WEBP, QUALITY)


@pytest.mark.slow
@given(hnp.arrays(np.int64, st.integers(2, 280), elements=st.integers(0, 1 << 40)).filter(lambda c: (c > 0).sum() > 1))
@example(np.array([1 << min(n, 40) for n in range(60)]))
def test_a_prefix_code_is_complete_and_short_enough(counts: np.ndarray) -> None:
    lengths, _ = prefix_code(counts)
    assert lengths.max() <= 15
    assert all(lengths[counts > 0] > 0)
    assert sum(Fraction(1, 1 << int(length)) for length in lengths if length) == 1


@pytest.mark.slow
@given(st.lists(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=40), max_size=4))
def test_bits_are_packed_from_the_lowest_on(parts: list[list[tuple[int, int]]]) -> None:
    out, expected = BitWriter(), ""
    for part in parts:
        values = [(value & (1 << bits) - 1, bits) for value, bits in part]
        for value, bits in values[:3]:
            out.write(value, bits)
        if len(values) > 3:
            out.write_all(*(np.array(column, np.uint64) for column in zip(*values[3:], strict=True)))
        expected = "".join(f"{value:0{bits}b}" if bits else "" for value, bits in reversed(values)) + expected
    assert int.from_bytes(out.finish(), "little") == int(expected or "0", 2)
