# SPDX-License-Identifier: Apache-2.0
"""Pixels come from numpy and Pillow as they lie there, and go back the same."""

import io
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from matting_client import Output, Pixels
from PIL import Image

rng = np.random.default_rng(1)


def samples(*shape: int, dtype: Any = np.uint8) -> Any:
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype)


@pytest.mark.parametrize(
    ("array", "named", "pixel_format"),
    [
        (samples(2, 3), None, "gray8"),
        (samples(2, 3, 3), None, "rgb8"),
        (samples(2, 3, 3), "bgr8", "bgr8"),
        (samples(2, 3, 4), None, "rgba8"),
        (samples(2, 3, dtype=np.uint16), None, "gray16"),
        (samples(2, 3, 3, dtype=np.uint16), None, "rgb16"),
        (samples(2, 3, 4, dtype=np.uint16), "rgba16", "rgba16"),
    ],
)
def test_an_array_comes_back_as_it_was(array: Any, named: Any, pixel_format: str) -> None:
    pixels = Pixels.from_numpy(array, named)
    assert (pixels.width_px, pixels.height_px, pixels.pixel_format) == (3, 2, pixel_format)
    back = pixels.to_numpy()
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)
    back[0] = 0  # it is the caller's own


def test_gray_may_have_one_sample_and_views_and_big_endian_samples_are_read_right() -> None:
    array = samples(4, 6, 1, dtype=np.uint16)
    np.testing.assert_array_equal(Pixels.from_numpy(array).to_numpy(), array[..., 0])
    view = array[::2, ::-1]
    np.testing.assert_array_equal(Pixels.from_numpy(view).to_numpy(), view[..., 0])
    assert Pixels.from_numpy(array.astype(">u2")).data == Pixels.from_numpy(array).data


@pytest.mark.parametrize(
    ("array", "named", "told"),
    [
        (np.zeros((2, 3), np.float32), None, "float32: samples are uint8 or uint16"),
        (np.zeros((2, 3), np.int16), None, "int16"),
        (np.zeros((2, 3, 2), np.uint8), None, r"shape \(2, 3, 2\)"),
        (np.zeros((1, 2, 3, 3), np.uint8), None, r"\(1, 2, 3, 3\)"),
        (np.zeros((0, 3), np.uint8), None, "none of them 0"),
        (np.zeros((2, 3), np.uint8), "bgr8", "is no bgr8"),
        (np.zeros((2, 3, 3), np.uint16), "bgr8", "is no bgr8"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(array: Any, named: Any, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Pixels.from_numpy(array, named)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16"])
def test_a_picture_comes_back_as_it_was(mode: str) -> None:
    content = samples(2, 3, 4).tobytes()
    image = Image.frombytes(mode, (3, 2), content[: 6 * {"L": 1, "RGB": 3, "RGBA": 4, "I;16": 2}[mode]])
    back = Pixels.from_pil(image).to_pil()
    assert (back.mode, back.size, back.tobytes()) == (mode, image.size, image.tobytes())


def test_pictures_of_other_layouts_become_colour() -> None:
    colour = Image.fromarray(samples(2, 3, 3))
    for mode in ("P", "CMYK", "YCbCr"):
        assert Pixels.from_pil(colour.convert(mode)).pixel_format == "rgb8"
    see_through = Image.fromarray(samples(2, 3, 4)).convert("PA")
    assert Pixels.from_pil(see_through).pixel_format == "rgba8"
    assert Pixels.from_pil(colour.convert("LA")).pixel_format == "rgba8"
    assert Pixels.from_pil(colour.convert("1")).pixel_format == "gray8"
    for mode in ("F", "I"):
        with pytest.raises(ValueError, match="8 or 16 bits"):
            Pixels.from_pil(colour.convert(mode))


def test_bgr_becomes_rgb_for_pillow() -> None:
    array = samples(2, 3, 3)
    picture = Pixels.from_numpy(array, "bgr8").to_pil()
    np.testing.assert_array_equal(np.asarray(picture), array[..., ::-1])


def test_what_pillow_has_not_is_said_and_rows_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="no pictures of rgb16: to_numpy"):
        Pixels.from_numpy(samples(2, 3, 3, dtype=np.uint16)).to_pil()
    with pytest.raises(ValueError, match="17 bytes are no 3x2 of rgb8"):
        Pixels(b"x" * 17, 3, 2, "rgb8").to_numpy()
    with pytest.raises(ValueError, match="newer than this client"):
        Pixels(b"x", 1, 1, "format 99").to_pil()  # type: ignore[arg-type]  # as an answer of a newer server has it


def test_a_result_is_an_array_and_a_picture_whether_it_is_a_file_or_rows() -> None:
    array = samples(2, 3, 4)
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    file = Output(out.getvalue(), "image/png", None, 3, 2)
    rows = Output(b"", "", Pixels.from_numpy(array), 3, 2)
    for output in (file, rows):
        np.testing.assert_array_equal(output.to_numpy(), array)
        assert (output.to_pil().mode, output.to_pil().tobytes()) == ("RGBA", array.tobytes())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "call", "told"),
    [
        ("numpy", "pixels.to_numpy()", "to_numpy needs numpy: pip install 'matting-client[pixels]'"),
        ("PIL", "pixels.to_pil()", "to_pil needs pillow: pip install 'matting-client[pixels]'"),
        ("PIL", "Output(b'', 'image/png', None, 1, 1).to_numpy()", "to_pil needs pillow"),
    ],
)
def test_without_the_extra_it_is_named(hidden: str, call: str, told: str) -> None:
    hide = f"import sys; sys.modules.update(dict.fromkeys([{hidden!r}]))"
    code = f"{hide}; from matting_client import Output, Pixels; pixels = Pixels(b'x', 1, 1, 'gray8'); {call}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"ImportError: {told}" in done.stderr
