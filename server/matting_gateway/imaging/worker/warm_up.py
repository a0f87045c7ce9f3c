# SPDX-License-Identifier: Apache-2.0
"""Everything that a worker will ever load, loaded: nothing can be opened once its sandbox is closed."""

import io

import numpy as np
from matting_pixels.matting import refine_matting
from PIL import Image

from matting_gateway.domain.photo import FileEncoding
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.media_types import AVIF, JPEG, MIME_TYPES
from matting_gateway.imaging.worker.decode import set_up_decoders
from matting_gateway.imaging.writers.encode import encode_cutout, encode_file

_QUALITY = 85


def warm_up() -> None:
    """Set the libraries up, solve for an edge, decode and encode once in every format."""
    set_up_decoders()
    Image.init()
    for image_format in ImageFormat:
        buffer = io.BytesIO()
        try:
            Image.new("RGB", (8, 8)).save(buffer, image_format.pillow_name)
            with Image.open(io.BytesIO(buffer.getvalue()), formats=(image_format.pillow_name,)) as image:
                image.convert("RGB").resize((4, 4))
        except (KeyError, OSError):
            continue
    edge = np.zeros((32, 32), np.uint8)
    edge[:, 16:] = 255
    refine_matting(np.zeros((64, 64, 3), np.uint8), edge)
    color, alpha = np.zeros((16, 16, 3), np.uint8), np.eye(16, dtype=np.uint8)
    for mime_type in MIME_TYPES:
        for encoding in (FileEncoding(mime_type), FileEncoding(mime_type, lossless=mime_type not in (JPEG, AVIF))):
            encode_file(color, encoding, _QUALITY)
            if mime_type != JPEG:
                encode_cutout(color, alpha, encoding, _QUALITY)
