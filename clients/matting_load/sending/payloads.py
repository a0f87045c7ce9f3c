# SPDX-License-Identifier: Apache-2.0
"""The photos and tensors to send, made before the clock starts."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matting_client.formats import FORMAT_OF_SUFFIX
from PIL import Image

from matting_load.plan import Photos

PHOTO_SUFFIXES = frozenset((*FORMAT_OF_SUFFIX, ".heic"))

_ITEM_BYTES = (
    dict.fromkeys(("BOOL", "UINT8", "INT8"), 1)
    | dict.fromkeys(("UINT16", "INT16", "FP16", "BF16"), 2)
    | dict.fromkeys(("UINT32", "INT32", "FP32"), 4)
    | dict.fromkeys(("UINT64", "INT64", "FP64"), 8)
)


@dataclass(frozen=True, slots=True, repr=False)
class Payload:
    """One thing to send, and its share of all."""

    name: str
    content: bytes
    share: float


def photo_payloads(photos: Photos, seed: int) -> tuple[Payload, ...]:
    """Read the folder's photos, or generate one JPEG a size.

    Raises:
        ValueError: The folder holds no photo.
    """
    if not photos.folder:
        return tuple(
            Payload(f"{size.width_px}x{size.height_px}", make_jpeg(size.width_px, size.height_px, seed), size.share)
            for size in photos.sizes
        )
    files = sorted(path for path in Path(photos.folder).iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not files:
        raise ValueError(f"{photos.folder} holds no photo")
    return tuple(Payload(path.name, path.read_bytes(), 1.0) for path in files)


def tensor_bytes(datatype: str, shape: tuple[int, ...], seed: int) -> bytes:
    """Make a tensor's bytes: noise where a byte is a number of its own, zeros where it is part of one.

    Raises:
        ValueError: The datatype is unknown, or has no fixed size.
    """
    if datatype not in _ITEM_BYTES:
        raise ValueError(f"datatype {datatype!r} is none of {', '.join(_ITEM_BYTES)}")
    count = int(np.prod(shape)) * _ITEM_BYTES[datatype]
    if datatype in ("UINT8", "INT8"):
        return np.random.default_rng(seed).integers(0, 256, count, dtype=np.uint8).tobytes()
    return bytes(count)


def make_jpeg(width_px: int, height_px: int, seed: int) -> bytes:
    """Make a JPEG that costs about what a photo of its size costs to decode: a subject before a lit, grainy scene."""
    rng = np.random.default_rng((seed, width_px, height_px))
    y, x = np.mgrid[0:height_px, 0:width_px].astype(np.float32)
    y /= height_px
    x /= width_px
    scene = np.stack([110 + 90 * x, 140 + 60 * y, 190 - 80 * y * x], axis=-1)
    body = ((x - 0.5) / 0.24) ** 2 + ((y - 0.62) / 0.4) ** 2 < 1
    head = ((x - 0.5) / 0.13) ** 2 + ((y - 0.26) / 0.17) ** 2 < 1
    scene[body] = (62, 44, 96)
    scene[head] = (214, 168, 140)
    pixels = np.clip(scene + _grain(rng, height_px, width_px), 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=88)
    return out.getvalue()


def _grain(rng: np.random.Generator, height_px: int, width_px: int) -> npt.NDArray[np.float32]:
    """Return texture over several octaves, so that the JPEG's size is a photo's and not a gradient's."""
    grain = rng.normal(0, 5, (height_px, width_px, 1)).astype(np.float32)
    for octave in (4, 16, 64):
        coarse = rng.normal(0, 10, (height_px // octave + 1, width_px // octave + 1)).astype(np.float32)
        scaled = Image.fromarray(coarse).resize((width_px, height_px), Image.Resampling.BICUBIC)
        grain += np.asarray(scaled)[..., None]
    return grain
