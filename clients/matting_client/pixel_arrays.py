# SPDX-License-Identifier: Apache-2.0
"""Rows of pixels to and from numpy and Pillow, which are imported where they are used."""

import importlib
import io
import math
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    AnyArray = NDArray[np.uint8] | NDArray[np.uint16]

# Samples a pixel, and bytes a sample.
LAYOUTS: dict[str, tuple[int, int]] = {
    "gray8": (1, 1),
    "rgb8": (3, 1),
    "bgr8": (3, 1),
    "rgba8": (4, 1),
    "gray16": (1, 2),
    "rgb16": (3, 2),
    "rgba16": (4, 2),
}
_BY_SHAPE = {layout: name for name, layout in LAYOUTS.items() if name != "bgr8"}
_PIL_MODES = {"gray8": "L", "rgb8": "RGB", "rgba8": "RGBA", "gray16": "I;16"}
_BY_PIL_MODE = {mode: name for name, mode in _PIL_MODES.items()}


def need(module: str, what: str) -> Any:
    """Import what the bare install does not bring.

    Raises:
        ImportError: It is not installed; says which extra to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as missing:
        package = "pillow" if module.startswith("PIL") else missing.name
        raise ImportError(f"{what} needs {package}: pip install 'matting-client[pixels]'") from missing


def layout_of(array: "AnyArray", pixel_format: str | None) -> str:
    """Return the pixel format of an array: the one named, or by its shape and type.

    Raises:
        ValueError: It has no such shape or type.
    """
    if array.dtype.kind != "u" or array.dtype.itemsize not in (1, 2):
        raise ValueError(f"an array of {array.dtype}: samples are uint8 or uint16")
    is_gray = array.ndim == 2
    samples = 1 if is_gray else array.shape[2] if array.ndim == 3 else 0
    found = _BY_SHAPE.get((samples, array.dtype.itemsize))
    if found is None or 0 in array.shape:
        raise ValueError(
            f"an array of shape {array.shape}: [height, width], or [height, width, 1, 3 or 4], none of them 0"
        )
    if pixel_format is None:
        return found
    if LAYOUTS.get(pixel_format) != (samples, array.dtype.itemsize):
        raise ValueError(f"an array of shape {array.shape} and {array.dtype} is no {pixel_format}")
    return pixel_format


def rows_of(array: "AnyArray") -> bytes:
    """Return an array as rows without padding, 16-bit samples little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def picture_rows(image: "Image.Image") -> tuple[bytes, str]:
    """Return a picture's rows and their pixel format; what has another layout becomes RGB or RGBA.

    Raises:
        ValueError: Its samples are 32 bits or floating point.
    """
    if image.mode in ("I", "F"):
        raise ValueError(f"a picture of mode {image.mode}: samples have 8 or 16 bits")
    if image.mode == "I;16B":
        return image.tobytes("raw", "I;16"), "gray16"
    if image.mode not in _BY_PIL_MODE:
        gray = image.mode == "1"
        image = image.convert("L" if gray else "RGBA" if image.has_transparency_data else "RGB")
    return image.tobytes(), _BY_PIL_MODE[image.mode]


def check_length(data: bytes, width_px: int, height_px: int, pixel_format: str) -> tuple[int, ...]:
    """Return the shape of rows: height, width and, where there are several, samples a pixel.

    Raises:
        ValueError: The format is unknown, or the rows are longer or shorter than it says.
    """
    layout = LAYOUTS.get(pixel_format)
    if layout is None:
        raise ValueError(f"{pixel_format!r} is newer than this client: read the rows as they are")
    samples, sample_bytes = layout
    shape = (height_px, width_px) if samples == 1 else (height_px, width_px, samples)
    if len(data) != math.prod(shape) * sample_bytes:
        raise ValueError(f"{len(data)} bytes are no {width_px}x{height_px} of {pixel_format}")
    return shape


def to_array(data: bytes, width_px: int, height_px: int, pixel_format: str) -> "AnyArray":
    """Return rows as an array of their own: uint8 or uint16, [height, width] or [height, width, samples]."""
    numpy = need("numpy", "to_numpy")
    shape = check_length(data, width_px, height_px, pixel_format)
    rows = numpy.frombuffer(data, "<u2" if LAYOUTS[pixel_format][1] == 2 else "u1").reshape(shape)
    return cast("AnyArray", rows.astype(rows.dtype.newbyteorder("=")))


def to_picture(data: bytes, width_px: int, height_px: int, pixel_format: str) -> "Image.Image":
    """Return rows as a picture.

    Raises:
        ValueError: Pillow has no picture of 16-bit colour, or the rows are not as they say.
    """
    image = need("PIL.Image", "to_pil")
    check_length(data, width_px, height_px, pixel_format)
    size = (width_px, height_px)
    if pixel_format == "bgr8":
        return cast("Image.Image", image.frombytes("RGB", size, data, "raw", "BGR"))
    if pixel_format not in _PIL_MODES:
        raise ValueError(f"Pillow has no pictures of {pixel_format}: to_numpy gives the samples")
    return cast("Image.Image", image.frombytes(_PIL_MODES[pixel_format], size, data))


def open_picture(content: bytes) -> "Image.Image":
    """Read a file.

    Raises:
        OSError: It is of no format that is known here.
    """
    picture: Image.Image = need("PIL.Image", "to_pil").open(io.BytesIO(content))
    picture.load()
    return picture
