# SPDX-License-Identifier: Apache-2.0
"""What is composed here from the alpha of the model's grid is what the server makes of the same pixels."""

import io
from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
from matting_client.compose import compose
from matting_client.photos import OutputSpec as ClientSpec
from matting_client.photos import Refinement as RefinementName
from matting_gateway.domain import photo as domain
from matting_gateway.imaging.color.pixels import Decoded
from matting_gateway.imaging.worker.prepare import prepare_pixels
from matting_gateway.imaging.worker.render import Renderer
from matting_pixels.fit import out_of_grid
from matting_pixels.placement import Placement, letterbox, stretch
from PIL import Image
from testkit.hair import hairy_scene
from testkit.long_runs import short_or_long
from testkit.photos import sample_photo

GRID = 96
SIZES = [(320, 240), (200, 333), (641, 97), (90, 90), (61, 480)]
OPTIONS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "whole": ({}, {}),
    "smaller": ({"max_side_px": 77}, {"max_side_px": 77}),
    "cropped": ({"crop_margin_share": 0.1}, {"crop": domain.CropSpec(0.1)}),
    "cropped and smaller": (
        {"crop_margin_share": 0.0, "max_side_px": 60},
        {"crop": domain.CropSpec(), "max_side_px": 60},
    ),
    "decontaminated": ({"decontaminate": True}, {"decontamination": domain.Decontamination.BLUR_FUSION}),
}


def pixels_of(content: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image)


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(out, "PNG")
    return out.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("refine", ["guided", "matting"])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize(
    ("options", "size"), list(short_or_long(zip(OPTIONS, SIZES, strict=True), product(OPTIONS, SIZES)))
)
@pytest.mark.parametrize("is_clear", [False, True])
def test_every_pixel_is_the_same_to_a_level(
    refine: RefinementName, fit: str, size: tuple[int, int], options: str, is_clear: bool
) -> None:
    width, height = size
    scene = hairy_scene(sample_photo(width, height), (205, 175, 120), seed=1)
    own = np.full((height, width), 255, np.uint8)
    own[: height // 2] = 120
    placement = stretch(GRID, GRID) if fit == "stretch" else letterbox(width, height, GRID, GRID)
    alpha = np.zeros((GRID, GRID), np.uint8)
    inside = out_of_grid(alpha, placement)
    seen = cv2.resize(scene.alpha, inside.shape[::-1], interpolation=cv2.INTER_AREA)
    inside[:] = cv2.GaussianBlur(seen, (0, 0), 1.5)
    local, remote = OPTIONS[options]
    served, box = render(scene.photo, own if is_clear else None, placement, alpha, refine, remote)
    photo = np.dstack([scene.photo, own]) if is_clear else scene.photo
    spec = ClientSpec(kind="cutout", refine=refine, **local)
    composed = pixels_of(compose(png(photo), png(inside), spec, box, of_model=True))
    assert composed.shape == served.shape
    assert np.abs(composed.astype(int) - served).max() <= 1


def render(
    color: np.ndarray,
    own: np.ndarray | None,
    placement: Placement,
    alpha: np.ndarray,
    refine: RefinementName,
    options: dict[str, Any],
) -> tuple[np.ndarray, Any]:
    prepared = prepare_pixels(Decoded(color, own), placement, 1, True, False)
    renderer = Renderer(prepared, placement, color.shape[1], color.shape[0], alpha, exact=False, default_quality=85)
    output = domain.OutputSpec(
        kind=domain.OutputKind.CUTOUT,
        encoding=domain.RawEncoding(),
        refinement=domain.Refinement(refine),
        **options,
    )
    made = renderer.render(output, None, "outputs[0]")
    return np.frombuffer(made.data, np.uint8).reshape(made.height_px, made.width_px, 4), renderer.subject().box
