# SPDX-License-Identifier: Apache-2.0
"""How much memory a photo will take, from its header: the pure sums behind its permit.

Never less than what is used; `tests/unit/imaging/test_memory.py` holds them to that. What the libraries take is
measured (`make bench BENCH=imaging_memory`), as their documentation does not say.
"""

from collections.abc import Sequence

from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import Decontamination, FileEncoding, OutputKind, OutputSpec, Refinement
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.headers.model import FileHeader
from matting_gateway.imaging.media_types import AVIF, JPEG, WEBP
from matting_gateway.imaging.plan import DecodePlan, needs_color, oriented_size, place, plan_decode

# Room for what does not grow with the photo: strips, grids, a decoder's own tables.
_FIXED_BYTES = 16 << 20
# What a decoder takes for each pixel of 8-bit samples besides the result: (without alpha, with alpha).
_DECODER_BYTES = {
    ImageFormat.JPEG: (3, 3),
    ImageFormat.PNG: (4, 5),
    ImageFormat.WEBP: (5, 9),
    ImageFormat.AVIF: (10, 13),
}
_OTHER_DECODER_BYTES = (9, 12)
_CMYK_DECODER_BYTES = 6
# What a writer takes for each pixel besides photo and alpha, its own file and the pixels that it is handed included.
_WRITER_BYTES = {JPEG: 6, WEBP: 6, AVIF: 40}
# And for each byte of a sample, where colour is written to PNG, to WebP or as it is.
_COLOR_BYTES = 5
# What a cell of the model's grid takes where its alpha is enlarged along the photo.
_CELL_BYTES = 20
# What solving for an edge takes, whatever the photo's size.
_SOLVER_BYTES = 16 << 20


def working_bytes(
    width_px: int,
    height_px: int,
    file: FileHeader | None,
    backgrounds: Sequence[FileHeader],
    outputs: Sequence[OutputSpec],
    model_input: ModelInput,
    *,
    exact: bool,
) -> int:
    """Return the most memory that a photo takes beyond its encoded bytes, results included.

    Args:
        width_px: Width as shown.
        height_px: Height as shown.
        file: The file's header; None for raw pixels.
        backgrounds: The headers of all background pictures.
        outputs: The results wanted.
        model_input: The model's grid.
        exact: Whether the room resizes the exact way.
    """
    placement = place(width_px, height_px, model_input)
    cell_bytes = 4 + _CELL_BYTES * any(output.refinement is not Refinement.NONE for output in outputs)
    grid_bytes = cell_bytes * placement.grid_width_px * placement.grid_height_px
    plans = [DecodePlan(header, None, 1, True, exact, 0) for header in backgrounds]
    if file is None:
        kept, transient = 4 * width_px * height_px, 0
    else:
        plan = plan_decode(file, placement, outputs, exact=exact, max_profile_bytes=0)
        kept, transient = _kept_bytes(plan), _decoding_bytes(plan)
    behind = sum(_kept_bytes(plan) for plan in plans)
    decoding = max([transient, *(_decoding_bytes(plan) for plan in plans)])
    sample_bytes = 1 if file is None else _sample_bytes(file)
    rendering = sum(_output_bytes(output, width_px, height_px, sample_bytes, exact=exact) for output in outputs)
    return _FIXED_BYTES + grid_bytes + kept + behind + max(decoding, rendering)


def _sample_bytes(file: FileHeader) -> int:
    return 2 if file.bits_per_sample > 8 else 1


def _kept_bytes(plan: DecodePlan) -> int:
    """Return what stays of a picture until the results are made."""
    area = plan.width_px * plan.height_px * _sample_bytes(plan.header)
    return area * (3 * plan.keep_color + plan.header.has_alpha)


def _decoding_bytes(plan: DecodePlan) -> int:
    """Return what only decoding needs: copies of the file, the decoder's own, and pixels that are not kept."""
    file = plan.header
    area = plan.width_px * plan.height_px * _sample_bytes(file)
    per_pixel = _DECODER_BYTES.get(file.format, _OTHER_DECODER_BYTES)[file.has_alpha]
    if file.format is ImageFormat.JPEG and file.sample_count == 4:
        per_pixel = _CMYK_DECODER_BYTES
    if not plan.keep_color or oriented_size(file) != (file.width_px, file.height_px) or file.orientation != 1:
        per_pixel += 3 + file.has_alpha
    if plan.exact:
        per_pixel += 4
    return 2 * file.file_bytes + area * per_pixel + file.coefficient_bytes


def _output_bytes(output: OutputSpec, width_px: int, height_px: int, sample_bytes: int, *, exact: bool) -> int:
    """Return what making one result needs: its alpha, its pixels, its file."""
    written = scale = min(1.0, output.max_side_px / max(width_px, height_px)) if output.max_side_px else 1.0
    if output.crop or output.decontamination is not Decontamination.NONE or exact:
        # The alpha, or the clean colour, is made of the whole photo before a part of it is scaled.
        scale = 1.0
    mime_type = output.encoding.mime_type if isinstance(output.encoding, FileEncoding) else ""
    per_pixel = 1 + sample_bytes
    if output.kind is not OutputKind.ALPHA and mime_type not in (JPEG, AVIF):
        per_pixel += _COLOR_BYTES * sample_bytes
    if output.kind is OutputKind.COMPOSITE:
        per_pixel += 7 * sample_bytes
    if output.refinement is not Refinement.NONE:
        per_pixel += 3 * sample_bytes
    if output.decontamination is not Decontamination.NONE:
        per_pixel += 3 * sample_bytes
    if needs_color(output) and scale < 1.0:
        per_pixel += 3 * sample_bytes
    solver_bytes = _SOLVER_BYTES if output.refinement is Refinement.MATTING else 0
    return solver_bytes + int(
        width_px * height_px * (scale * scale * per_pixel + written * written * _WRITER_BYTES.get(mime_type, 0))
    )
