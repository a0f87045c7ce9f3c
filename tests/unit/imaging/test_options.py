# SPDX-License-Identifier: Apache-2.0
"""Options that make no sense are refused by name before any work."""

import pytest
from matting_gateway.domain.photo import (
    ColorBackground,
    CropSpec,
    Decontamination,
    FileEncoding,
    OutputKind,
    OutputSpec,
    PixelFormat,
    RawEncoding,
    Refinement,
)
from matting_gateway.errors import GatewayError, OptionInvalidError, OptionUnsupportedError
from matting_gateway.imaging.options import check_outputs

RED = ColorBackground(255, 0, 0)


@pytest.mark.parametrize(
    ("output", "error", "field"),
    [
        (OutputSpec(encoding=FileEncoding("image/tiff")), OptionUnsupportedError, "encoded.mime_type"),
        (OutputSpec(encoding=FileEncoding(quality=0)), OptionInvalidError, "encoded.quality"),
        (OutputSpec(encoding=FileEncoding(quality=101)), OptionInvalidError, "encoded.quality"),
        (OutputSpec(encoding=FileEncoding("image/jpeg", lossless=True)), OptionInvalidError, "encoded.lossless"),
        (OutputSpec(encoding=FileEncoding("image/avif", lossless=True)), OptionInvalidError, "encoded.lossless"),
        (
            OutputSpec(kind=OutputKind.CUTOUT, encoding=FileEncoding("image/jpeg")),
            OptionInvalidError,
            "encoded.mime_type",
        ),
        (OutputSpec(encoding=RawEncoding(PixelFormat.RGB8)), OptionInvalidError, "raw.pixel_format"),
        (
            OutputSpec(kind=OutputKind.CUTOUT, encoding=RawEncoding(PixelFormat.GRAY8)),
            OptionInvalidError,
            "raw.pixel_format",
        ),
        (OutputSpec(max_side_px=-1), OptionInvalidError, "max_side_px"),
        (OutputSpec(crop=CropSpec(-0.1)), OptionInvalidError, "crop.margin_share"),
        (OutputSpec(crop=CropSpec(float("nan"))), OptionInvalidError, "crop.margin_share"),
        (OutputSpec(decontamination=Decontamination.BLUR_FUSION), OptionInvalidError, "decontamination"),
        (OutputSpec(background=RED), OptionInvalidError, "background"),
        (OutputSpec(model_grid=True, refinement=Refinement.GUIDED), OptionInvalidError, "model_grid"),
        (OutputSpec(model_grid=True, crop=CropSpec()), OptionInvalidError, "model_grid"),
        (OutputSpec(model_grid=True, max_side_px=100), OptionInvalidError, "model_grid"),
        (OutputSpec(model_grid=True, kind=OutputKind.CUTOUT), OptionInvalidError, "model_grid"),
        (OutputSpec(kind=OutputKind.COMPOSITE), OptionInvalidError, "background"),
        (
            OutputSpec(kind=OutputKind.COMPOSITE, background=ColorBackground(0, 256, 0)),
            OptionInvalidError,
            "color.green",
        ),
        (OutputSpec(kind=OutputKind.COMPOSITE, background=ColorBackground(0, 0, -1)), OptionInvalidError, "color.blue"),
    ],
)
def test_an_option_is_refused_by_its_path(output: OutputSpec, error: type[GatewayError], field: str) -> None:
    with pytest.raises(error) as caught:
        check_outputs([OutputSpec(), output], 8)
    assert caught.value.field == f"outputs[1].{field}"


def test_the_number_of_outputs_is_limited() -> None:
    with pytest.raises(OptionInvalidError, match="at most 8"):
        check_outputs([OutputSpec()] * 9, 8)
    with pytest.raises(OptionInvalidError, match="At least one"):
        check_outputs([], 8)


def test_what_makes_sense_passes() -> None:
    check_outputs(
        [
            OutputSpec(refinement=Refinement.GUIDED, crop=CropSpec(1.0), max_side_px=100),
            OutputSpec(kind=OutputKind.CUTOUT, decontamination=Decontamination.BLUR_FUSION),
            OutputSpec(kind=OutputKind.COMPOSITE, background=RED, encoding=FileEncoding("image/jpeg", quality=1)),
            OutputSpec(encoding=FileEncoding("image/png", lossless=True)),
            OutputSpec(encoding=RawEncoding(PixelFormat.GRAY16)),
            OutputSpec(kind=OutputKind.CUTOUT, refinement=Refinement.MATTING),
            OutputSpec(model_grid=True),
        ],
        8,
    )
