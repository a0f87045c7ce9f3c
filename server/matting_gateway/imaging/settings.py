# SPDX-License-Identifier: Apache-2.0
"""What the imaging room accepts and how it works; every limit has a safe default."""

from dataclasses import dataclass, field, fields

from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.options import MIB, option


def _formats(text: str) -> frozenset[ImageFormat]:
    names = {f.name.lower(): f for f in ImageFormat}
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"unknown format {', '.join(unknown)}; known are {', '.join(sorted(names))}")
    return frozenset(names[name] for name in wanted)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a photo or a background picture may be at most. Checked on the header, before any decoder runs.

    Attributes:
        max_encoded_bytes: Length of the file.
        max_pixels: Width times height.
        max_side_px: Width, and height.
        max_frames: Frames of an animation or pages of a document, where animations are allowed at all.
        max_scans: Scans of a progressive JPEG, each of which costs a pass over the picture.
        max_metadata_chunks: Segments or chunks that are not picture data.
        max_metadata_bytes: Their total length.
        max_profile_bytes: Length of an embedded colour profile, unpacked.
    """

    max_encoded_bytes: int = option(32 * MIB, "--max-encoded-mib", "Largest photo file.", unit=MIB)
    max_pixels: int = option(50_000_000, "--max-pixels", "Most pixels of a photo.")
    max_side_px: int = option(32_767, "--max-side-px", "Longest side of a photo.")
    max_frames: int = 1_000
    max_scans: int = 64
    max_metadata_chunks: int = 1_024
    max_metadata_bytes: int = 8 * MIB
    max_profile_bytes: int = 4 * MIB

    def __post_init__(self) -> None:
        for limit in fields(self):
            if getattr(self, limit.name) < 1:
                raise ValueError(f"{limit.name} must be at least 1")


@dataclass(frozen=True, slots=True)
class ImagingSettings:
    """How photos are read and results are written.

    Attributes:
        limits: What is accepted at most.
        formats: The file formats accepted; HEIC needs the extra `heif` as well.
        allow_animated: Take the first frame of an animation or a document instead of refusing it.
        worker_count: Processes that decode photos and render results, one at a time each; 0: one for
            each core that this process may use.
        worker_timeout_s: A worker that takes longer than this to decode a picture, plus as much again for
            each 4 megapixels, or five times as long to make a result, is killed.
        exact: Resize the way rembg does (whole decode, Pillow's Lanczos both ways) instead of the fast way.
        max_outputs: Results of one photo.
        default_quality: Quality of a lossy file when the call names none, by media type.
    """

    limits: ImageLimits = field(default_factory=ImageLimits)
    formats: frozenset[ImageFormat] = option(
        frozenset({ImageFormat.JPEG, ImageFormat.PNG, ImageFormat.WEBP, ImageFormat.AVIF, ImageFormat.HEIC}),
        "--formats",
        "Formats taken, comma-separated.",
        convert=_formats,
    )
    allow_animated: bool = option(False, "--allow-animated", "Take the first frame of animations.")
    worker_count: int = option(0, "--imaging-workers", "Processes that decode and encode; 0: one a core.")
    worker_timeout_s: float = 2.0
    exact: bool = option(False, "--exact-resize", "Resize as rembg does: slower, for comparisons.")
    max_outputs: int = 8
    default_quality: int = 85

    def __post_init__(self) -> None:
        if self.worker_count < 0:
            raise ValueError("worker_count must be 0 (one for each core) or more")
        if self.worker_timeout_s <= 0:
            raise ValueError("worker_timeout_s must be positive")
        if self.max_outputs < 1:
            raise ValueError("max_outputs must be at least 1")
        if not 1 <= self.default_quality <= 100:
            raise ValueError("default_quality must be 1 to 100")
        if not self.formats:
            raise ValueError("formats must name at least one format")
