# SPDX-License-Identifier: Apache-2.0
"""The closed list of file formats, and how their first bytes tell them apart."""

from enum import Enum

from open_inference.tensors import Buffer


class ImageFormat(Enum):
    """A file format: (name for people, media type, Pillow's name of its decoder)."""

    JPEG = ("JPEG", "image/jpeg", "JPEG")
    PNG = ("PNG", "image/png", "PNG")
    WEBP = ("WebP", "image/webp", "WEBP")
    AVIF = ("AVIF", "image/avif", "AVIF")
    HEIC = ("HEIC", "image/heic", "HEIF")
    GIF = ("GIF", "image/gif", "GIF")
    TIFF = ("TIFF", "image/tiff", "TIFF")
    BMP = ("BMP", "image/bmp", "BMP")

    @property
    def title(self) -> str:
        return self.value[0]

    @property
    def mime_type(self) -> str:
        return self.value[1]

    @property
    def pillow_name(self) -> str:
        return self.value[2]


_MAGIC = (
    (b"\xff\xd8\xff", ImageFormat.JPEG),
    (b"\x89PNG\r\n\x1a\n", ImageFormat.PNG),
    (b"GIF87a", ImageFormat.GIF),
    (b"GIF89a", ImageFormat.GIF),
    (b"II*\x00", ImageFormat.TIFF),
    (b"MM\x00*", ImageFormat.TIFF),
    (b"BM", ImageFormat.BMP),
)
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})


def sniff(content: Buffer) -> ImageFormat | None:
    """Return the format that the first bytes say, or None. A declared type or a file name plays no part."""
    head = bytes(content[:64])
    for magic, image_format in _MAGIC:
        if head.startswith(magic):
            return image_format
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if head[4:8] == b"ftyp":
        return _sniff_brands(head)
    return None


def _sniff_brands(head: bytes) -> ImageFormat | None:
    """Tell AVIF from HEIC by the brands of a `ftyp` box (ISO/IEC 14496-12, 4.3)."""
    box_size = min(int.from_bytes(head[:4], "big"), len(head))
    brands = {head[8:12]} | {head[at : at + 4] for at in range(16, box_size - 3, 4)}
    if brands & _AVIF_BRANDS:
        return ImageFormat.AVIF
    if brands & _HEIC_BRANDS:
        return ImageFormat.HEIC
    return None
