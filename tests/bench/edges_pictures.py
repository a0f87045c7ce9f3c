# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/refinement: what each refinement makes of an edge, over white, black and a colour.

Run: python tests/bench/edges_pictures.py [--out DIR]. One picture a kind of subject of edges_scenes.py: the photo, then
plain, GUIDED, MATTING, and MATTING with background colour taken out.
"""

import argparse
import pathlib

import cv2
import numpy as np
import onnxruntime
from bench.edges import GRID_PX, OURS, ROOT
from bench.edges_scenes import scenes
from matting_pixels.compose import over_color
from matting_pixels.decontaminate import decontaminate
from numpy.typing import NDArray
from PIL import Image

# What of which picture is shown: the middle of a square, as a share of width and height, and its side in pixels.
SHOWN = {
    "hair 2": (0.42, 0.27, 300),
    "fur 1": (0.3, 0.5, 260),
    "petals 2": (0.62, 0.2, 240),
    "motion blur 3": (0.72, 0.62, 260),
    "glass 4": (0.5, 0.35, 420),
    "holes 1": (0.62, 0.3, 300),
}
BEHIND = ((255, 255, 255), (0, 0, 0), (20, 170, 90))
SIDE_PX = 190


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "images" / "refinement")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    model = onnxruntime.InferenceSession(
        str(ROOT / "model_repository" / "u2net" / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    for name, scene in scenes():
        subject = name.partition(" over ")[0]
        if subject in SHOWN:
            small = cv2.resize(scene.photo, (GRID_PX, GRID_PX), interpolation=cv2.INTER_AREA)
            alpha = model.run(["alpha"], {"image": small[None]})[0][0]
            path = arguments.out / f"{subject.rstrip(' 0123456789').replace(' ', '-')}.webp"
            Image.fromarray(sheet(scene.photo, alpha, SHOWN[subject])).save(path, quality=82, method=6)


def sheet(photo: NDArray[np.uint8], alpha: NDArray[np.uint8], shown: tuple[float, float, int]) -> NDArray[np.uint8]:
    """Return three rows, one a colour behind: the photo, and each way to refine."""
    alphas = [make(photo, alpha) for make in OURS.values()]
    clean = decontaminate(photo, alphas[-1])
    rows = []
    for behind in BEHIND:
        made = [photo, *(over_color(photo, each, behind) for each in alphas), over_color(clean, alphas[-1], behind)]
        rows.append(np.concatenate([_cut(each, shown) for each in made], axis=1))
    return np.concatenate(rows)


def _cut(picture: NDArray[np.uint8], shown: tuple[float, float, int]) -> NDArray[np.uint8]:
    height, width = picture.shape[:2]
    side = min(shown[2], height, width)
    left = int(np.clip(shown[0] * width - side / 2, 0, width - side))
    top = int(np.clip(shown[1] * height - side / 2, 0, height - side))
    cut = cv2.resize(picture[top : top + side, left : left + side], (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.copyMakeBorder(cut, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(128, 128, 128)), np.uint8)


if __name__ == "__main__":
    main()
