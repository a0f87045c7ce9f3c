# SPDX-License-Identifier: Apache-2.0
"""Files with harmless oddities are read as Pillow reads them."""

import io
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from matting_gateway.errors import ImageUnreadableError
from matting_gateway.imaging.headers.jpeg import read_jpeg_header
from numpy.typing import NDArray
from PIL import Image
from testkit.decoding import prepared
from testkit.pngs import chunk, write_png

SIDE = 16
SAMPLES = np.mgrid[:SIDE, :SIDE].sum(axis=0)[..., None].repeat(3, axis=2).astype(np.uint16) * 7
FRAME = (b"fcTL", struct.pack(">IIIIIHHBB", 0, SIDE, SIDE, 0, 0, 1, 10, 0, 0))


def jpeg() -> bytes:
    out = io.BytesIO()
    Image.fromarray(SAMPLES.astype(np.uint8)).save(out, "JPEG", quality=95)
    return out.getvalue()


def segment(marker: int, body: bytes, *, says_bytes: int | None = None) -> bytes:
    length = len(body) if says_bytes is None else says_bytes
    return bytes([0xFF, marker]) + struct.pack(">H", length + 2) + body


def behind_start(junk: bytes) -> bytes:
    """Return a JPEG with something between its first two markers."""
    return jpeg()[:2] + junk + jpeg()[2:]


def behind_first_segment(junk: bytes) -> bytes:
    return jpeg()[:20] + junk + jpeg()[20:]


PHOTOSHOP = b"Photoshop 3.0\x00" + b"8BIM\x03\xed\x00\x00\x00\x00\x00\x10" + bytes(range(16))
ADOBE = b"Adobe\x00d\x80\x00\x00\x00\x01"


def animated(count: int, *, bits: int = 8, channels: int = 3, before: bool = False, after: bool = False) -> bytes:
    """Return a PNG that announces so many frames; `before` and `after` its picture there is one."""
    color_type = {1: 0, 3: 2, 4: 6}[channels]
    samples = np.concatenate([SAMPLES, SAMPLES], axis=2)[..., :channels]
    chunks = [(b"acTL", struct.pack(">II", count, 0)), *([FRAME] if before else [])]
    content = write_png(samples, color_type, bits, before=chunks)
    end = content.index(b"IEND") - 4
    other = zlib.compress(bytes(SIDE * (1 + SIDE * channels * bits // 8)))
    frame = chunk(*FRAME) + chunk(b"fdAT", struct.pack(">I", 1) + other) if after else b""
    return content[:end] + frame + content[end:]


def as_pillow_reads(content: bytes) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(content)) as image:
            return np.asarray(image.convert("RGB")).astype(np.float64)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(behind_first_segment(b"\x17"), id="JPEG, a byte between segments"),
        pytest.param(behind_first_segment(b"\x00\xff\x00\xff\xff"), id="JPEG, bytes that look like markers"),
        pytest.param(behind_start(segment(0xED, PHOTOSHOP, says_bytes=28)), id="JPEG, a Photoshop block cut short"),
        pytest.param(
            behind_start(segment(0xED, PHOTOSHOP.replace(b"\x00\x10\x00", b"\xff\x10\x00"))),
            id="JPEG, a Photoshop block that says it is longer",
        ),
        pytest.param(behind_start(segment(0xEE, ADOBE, says_bytes=7)), id="JPEG, an Adobe segment that goes on"),
        pytest.param(behind_start(segment(0xEE, ADOBE[:7])), id="JPEG, an Adobe segment that ends early"),
        pytest.param(animated(0), id="PNG, no frames"),
        pytest.param(animated(0, before=True), id="PNG, no frames, and one before the picture"),
        pytest.param(animated(0, after=True), id="PNG, no frames, and one after the picture"),
        pytest.param(animated(1), id="PNG, one frame that is not there"),
        pytest.param(animated(1, before=True), id="PNG, one frame"),
        pytest.param(animated(1, after=True), id="PNG, one frame beside the picture"),
        pytest.param(animated(1, channels=4, after=True), id="PNG, one frame beside a picture with alpha"),
        pytest.param(animated(0, channels=1), id="PNG gray, no frames"),
    ],
)
def test_an_odd_file_shows_what_pillow_shows(content: bytes) -> None:
    decoded = prepared(content).color
    assert decoded is not None
    assert np.abs(decoded - as_pillow_reads(content)).mean() < 1.5


def test_an_odd_file_of_16_bits_stays_deep() -> None:
    decoded = prepared(animated(1, bits=16, after=True)).color
    assert decoded is not None
    assert decoded.dtype == np.uint16
    assert (decoded == SAMPLES).all()


def test_more_than_64_kib_between_the_markers_of_a_jpeg_are_damage() -> None:
    assert read_jpeg_header(behind_first_segment(bytes(65_536))).width_px == SIDE
    with pytest.raises(ImageUnreadableError, match="a marker is missing"):
        read_jpeg_header(behind_first_segment(bytes(65_537)))


def test_a_jpeg_that_ends_in_what_is_no_marker_is_cut_off() -> None:
    with pytest.raises(ImageUnreadableError, match="cut off"):
        read_jpeg_header(jpeg()[:20] + bytes(100))
