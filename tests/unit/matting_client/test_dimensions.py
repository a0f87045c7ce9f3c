# SPDX-License-Identifier: Apache-2.0
"""The client's promise of pixels is what the file really has, or none."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_client.transport.dimensions import pixel_count
from PIL import Image


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("JPEG", {"exif": b"Exif\0\0" + bytes(5000)}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0" + bytes(50)}),
    ],
)
def test_the_header_tells_the_pixels(kind: str, options: dict[str, object]) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (123, 45), "red").save(stream, kind, **options)
    assert pixel_count(stream.getvalue()) == 123 * 45


@given(st.binary(max_size=64), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF1234WEBP"]))
def test_any_bytes_give_a_count_or_nothing(content: bytes, magic: bytes) -> None:
    count = pixel_count(magic + content)
    assert count is None or count >= 0
