# SPDX-License-Identifier: Apache-2.0
"""Photos that can be known again wherever a piece of them turns up."""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matting.v1 import matting_service_pb2 as pb
from numpy.typing import NDArray
from PIL import Image, ImageCms
from testkit.memory_scan import Canary

_SIZES_PX = ((320, 320), (16, 14), (640, 480), (333, 777), (1200, 900), (320, 320), (1600, 1200))
_JPEG_SCALES = (2, 4, 8)


@dataclass(frozen=True, slots=True)
class CanaryCall:
    """A request. `damaged`: it must fail."""

    request: pb.RemoveBackgroundRequest
    damaged: bool = False


def outputs() -> list[list[pb.OutputSpec]]:
    """Return every kind of output in every encoding, one or two a call."""
    png, webp, jpeg, avif = (pb.ImageEncoding(mime_type=f"image/{name}") for name in ("png", "webp", "jpeg", "avif"))
    lossless = pb.ImageEncoding(mime_type="image/webp", lossless=True)
    white = pb.Color(red=255, green=255, blue=255)
    spec = pb.OutputSpec
    alpha, cutout, composite = pb.OUTPUT_KIND_ALPHA, pb.OUTPUT_KIND_CUTOUT, pb.OUTPUT_KIND_COMPOSITE
    return [
        [],
        [spec(kind=alpha, raw=pb.RawEncoding())],
        [spec(kind=cutout, encoded=png)],
        [spec(kind=cutout, raw=pb.RawEncoding(), decontamination=pb.DECONTAMINATION_BLUR_FUSION)],
        [spec(kind=alpha, encoded=jpeg), spec(kind=composite, encoded=jpeg, color=white)],
        [spec(kind=cutout, encoded=webp, crop=pb.Crop(margin_share=0.1))],
        [spec(kind=alpha, encoded=png, refinement=pb.REFINEMENT_GUIDED, max_side_px=500)],
        [spec(kind=alpha, encoded=avif, max_side_px=400)],
        [spec(kind=cutout, encoded=lossless, max_side_px=400), spec(kind=alpha, encoded=webp)],
    ]


def canary_calls(count: int, canary: Canary) -> Iterator[CanaryCall]:
    """Yield requests, and add to the canary what their photos look like in memory.

    Photos are noise, so that any 16 bytes of one are its own. Every eighth is damaged: cut off in
    the middle, or with an option that no photo can be served with.
    """
    _ignore_formats(canary)
    specs = outputs()
    for i in range(count):
        width_px, height_px = _SIZES_PX[i % len(_SIZES_PX)]
        pixels = np.random.default_rng(i).integers(0, 256, (height_px, width_px, 3), np.uint8)
        request = pb.RemoveBackgroundRequest(outputs=specs[i % len(specs)])
        _put_photo(request, pixels, ("JPEG", "PNG", "WEBP", "raw")[i // 2 % 4], canary)
        damaged = i % 8 == 7
        if damaged:
            _damage(request, by_option=i % 16 == 7)
        yield CanaryCall(request, damaged)


def add_result(canary: Canary, answer: pb.RemoveBackgroundResponse) -> None:
    """Add an answer's results to the canary, where they are not too plain to be known again."""
    for output in answer.outputs:
        content = output.encoded.content or output.pixels.data
        canary.add("result", content)


def _put_photo(request: pb.RemoveBackgroundRequest, pixels: NDArray[np.uint8], encoding: str, canary: Canary) -> None:
    if encoding == "raw":
        height_px, width_px, _ = pixels.shape
        request.pixels.CopyFrom(
            pb.PixelImage(
                data=pixels.tobytes(), width_px=width_px, height_px=height_px, pixel_format=pb.PIXEL_FORMAT_RGB8
            )
        )
        _add_pixels(canary, pixels)
        return
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, encoding, quality=95, compress_level=1, method=0)
    content = stream.getvalue()
    request.encoded.content = content
    canary.add("encoded", content)
    _add_pixels(canary, np.asarray(Image.open(io.BytesIO(content)).convert("RGB")))
    # A decoder may well decode to a smaller size at once.
    for scale in _JPEG_SCALES if encoding == "JPEG" else ():
        with Image.open(io.BytesIO(content)) as image:
            image.draft("RGB", (image.width // scale, image.height // scale))
            _add_pixels(canary, np.asarray(image))


def _ignore_formats(canary: Canary) -> None:
    """Standard tables and profiles are in any process that knows the formats."""
    canary.ignore(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for encoding in ("JPEG", "PNG", "WEBP", "AVIF"):
        for mode in ("RGB", "L"):
            stream = io.BytesIO()
            Image.linear_gradient("L").convert(mode).save(stream, encoding)
            canary.ignore(stream.getvalue())


def _add_pixels(canary: Canary, pixels: NDArray[np.uint8]) -> None:
    """Add pixels in the layouts that imaging libraries keep them in."""
    padded = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    for layout in (pixels, pixels[..., ::-1], padded):
        canary.add("pixels", np.ascontiguousarray(layout).tobytes())
    # What a model that does nothing answers.
    canary.add("alpha", np.ascontiguousarray(pixels[..., 0]).tobytes())


def _damage(request: pb.RemoveBackgroundRequest, *, by_option: bool) -> None:
    if by_option or not request.encoded.content:
        request.outputs.add(kind=pb.OUTPUT_KIND_COMPOSITE)  # over no background
    else:
        request.encoded.content = request.encoded.content[: len(request.encoded.content) // 2]
