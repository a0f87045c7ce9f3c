# SPDX-License-Identifier: Apache-2.0
"""The soft edge: sharper alphas, cleaner colours."""

import cv2
import numpy as np
import pytest
from matting_pixels.decontaminate import decontaminate
from matting_pixels.fit import resize
from matting_pixels.refine import refine_guided
from matting_pixels.subject import Region, cut
from testkit.hair import Scene, absolute_difference, gradient_error, hairy_scene
from testkit.photos import sample_photo

WIDTH, HEIGHT = 1200, 900


@pytest.fixture(scope="module")
def scene() -> Scene:
    return hairy_scene(sample_photo(WIDTH, HEIGHT), (205, 175, 120), seed=1)


@pytest.mark.slow
def test_guided_halves_the_error_of_a_plain_enlargement(scene: Scene) -> None:
    small = resize(scene.alpha, 320, 320)
    plain = cv2.resize(small, (WIDTH, HEIGHT), interpolation=cv2.INTER_LANCZOS4).astype(np.uint8)
    guided = refine_guided(scene.photo, small)
    assert absolute_difference(guided, scene.alpha) < 0.5 * absolute_difference(plain, scene.alpha)
    assert gradient_error(guided, scene.alpha) < 0.5 * gradient_error(plain, scene.alpha)


@pytest.mark.parametrize("value", [0, 255])
def test_guided_leaves_a_flat_alpha_flat(scene: Scene, value: int) -> None:
    assert (refine_guided(scene.photo, np.full((32, 32), value, np.uint8)) == value).all()


@pytest.mark.parametrize("size", [(1, 1), (3, 700), (700, 3)])
def test_guided_takes_any_size(size: tuple[int, int]) -> None:
    photo = np.full((size[1], size[0], 3), 90, np.uint8)
    assert refine_guided(photo, np.full((16, 16), 77, np.uint8)).shape == (size[1], size[0])


@pytest.mark.slow
def test_decontamination_halves_the_colour_error_at_the_soft_edge(scene: Scene) -> None:
    soft = (scene.alpha > 0) & (scene.alpha < 255)
    before = np.abs(scene.photo[soft] - scene.foreground[soft]).mean()
    after = np.abs(decontaminate(scene.photo, scene.alpha)[soft] - scene.foreground[soft]).mean()
    assert after < 0.5 * before


@pytest.mark.slow
def test_decontamination_changes_the_soft_edge_only(scene: Scene) -> None:
    hard = (scene.alpha == 0) | (scene.alpha == 255)
    assert (decontaminate(scene.photo, scene.alpha)[hard] == scene.photo[hard]).all()


def test_decontamination_without_a_soft_edge_does_nothing(scene: Scene) -> None:
    alpha = np.where(scene.alpha > 128, 255, 0).astype(np.uint8)
    clean = decontaminate(scene.photo, alpha)
    assert np.shares_memory(clean, scene.photo)
    assert (clean == scene.photo).all()


@pytest.mark.slow
@pytest.mark.parametrize("region", [Region(0, 0, 1, 1), Region(337, 211, 550, 393), Region(5, 260, 1195, 340)])
def test_the_decontaminated_part_of_a_photo_is_that_part_of_the_whole(scene: Scene, region: Region) -> None:
    whole, part = decontaminate(scene.photo, scene.alpha), decontaminate(scene.photo, scene.alpha, region)
    assert part.shape == (region.height_px, region.width_px, 3)
    assert np.abs(part.astype(int) - cut(whole, region)).max() <= 1


@pytest.mark.slow
def test_decontamination_keeps_16_bits(scene: Scene) -> None:
    deep = scene.photo.astype(np.uint16) * 257
    shallow = decontaminate(scene.photo, scene.alpha)
    assert np.abs(decontaminate(deep, scene.alpha) / 257.0 - shallow).max() < 1.5
