# SPDX-License-Identifier: Apache-2.0
"""Scenes whose true alpha and true foreground are known: a hairy subject drawn over a photo."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scene:
    """What a camera sees, and what is true of it: uint8 photo and alpha, float32 foreground (0 to 255)."""

    photo: NDArray[np.uint8]
    alpha: NDArray[np.uint8]
    foreground: NDArray[np.float32]


def hairy_alpha(width_px: int, height_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw an ellipse with 900 hairs, one to three pixels wide at 1600 pixels, some translucent."""
    over = 2
    size = np.array([width_px, height_px]) * over
    alpha = np.zeros((size[1], size[0]), np.uint8)
    centre, radii = size * [0.5, 0.6], size * [0.22, 0.32]
    for _ in range(900):
        at = rng.uniform(0, 2 * np.pi)
        start = centre + 0.98 * radii * [np.cos(at), np.sin(at)]
        length = rng.uniform(0.05, 0.22) * size[1]
        turns = np.cumsum(np.full(24, rng.normal(0, 3) / 24)) + at + rng.normal(0, 0.5)
        steps = np.stack([np.cos(turns), np.sin(turns)], axis=1) * length / 24
        points = (start + np.cumsum(steps, axis=0)).astype(np.int32)
        thickness = max(1, round(rng.uniform(1, 3) * over * width_px / 1600))
        cv2.polylines(alpha, [points], False, int(rng.uniform(150, 255)), thickness, cv2.LINE_AA)
    cv2.ellipse(alpha, tuple(map(int, centre)), tuple(map(int, radii)), 0, 0, 360, 255, -1, cv2.LINE_AA)
    return np.asarray(cv2.resize(alpha, (width_px, height_px), interpolation=cv2.INTER_AREA), np.uint8)


def hairy_scene(background: NDArray[np.uint8], hair: tuple[int, int, int], seed: int) -> Scene:
    """Lay a subject of that colour, slightly textured, over a photo uint8 [H, W, 3], with sensor noise."""
    rng = np.random.default_rng(seed)
    height, width = background.shape[:2]
    alpha = hairy_alpha(width, height, rng)
    texture = cv2.GaussianBlur(rng.normal(0, 60, (height, width)).astype(np.float32), (0, 0), 2)[..., None]
    foreground = np.clip(np.array(hair, np.float32) + texture, 0, 255).astype(np.float32)
    weight = alpha[..., None].astype(np.float32) / 255
    mixed = foreground * weight + background * (1 - weight) + rng.normal(0, 1.5, (height, width, 1))
    return Scene(np.clip(np.rint(mixed), 0, 255).astype(np.uint8), alpha, foreground)


def absolute_difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """SAD as matting benchmarks count it: summed, alpha 0 to 1, in thousands."""
    return float(np.abs(one.astype(np.float32) - other).sum() / 255_000)


def gradient_error(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    """The squared difference of the gradients' size after a Gaussian of 1.4 (Rhemann et al., CVPR 2009)."""
    return float(((_gradient(one) - _gradient(other)) ** 2).sum())


def _gradient(alpha: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = cv2.GaussianBlur(alpha.astype(np.float32) / 255, (0, 0), 1.4)
    across = cv2.Sobel(values, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(values, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    return np.asarray(cv2.magnitude(across, down), np.float32)
