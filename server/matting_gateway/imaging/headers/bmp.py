# SPDX-License-Identifier: Apache-2.0
"""BMP headers (BITMAPCOREHEADER, BITMAPINFOHEADER and its successors)."""

from open_inference.tensors import Buffer

from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader, Reader

_CORE_HEADER_BYTES = 12


def read_bmp_header(content: Buffer) -> FileHeader:
    """Read the size and depth.

    Raises:
        ImageUnreadableError: Cut off or damaged.
    """
    reader = Reader(content, "BMP")
    header_bytes = reader.le32(14)
    if header_bytes == _CORE_HEADER_BYTES:
        width, height, _, bits_per_pixel = reader.unpack("<HHHH", 18)
    elif 40 <= header_bytes <= 124:
        width, height, _, bits_per_pixel = reader.unpack("<iiHH", 18)
    else:
        raise reader.damaged("its header has an unknown length")
    if bits_per_pixel not in (1, 4, 8, 16, 24, 32):
        raise reader.damaged("it has an impossible number of bits a pixel")
    return FileHeader(
        format=ImageFormat.BMP,
        width_px=width,
        height_px=abs(height),
        sample_count=4 if bits_per_pixel == 32 else 3,
        has_alpha=bits_per_pixel == 32,
    )
