# SPDX-License-Identifier: Apache-2.0
"""How much refinement and decontamination help at hair-like edges over real photos, with a picture.

Run: python tests/bench/imaging_quality.py [--out DIR]. The true alpha is known; the model's alpha is the true one
shrunk to 320 x 320, or that one blurred, as a model that is unsure would give it.
"""

import argparse
import pathlib

import cv2
import numpy as np
from matting_pixels.compose import over_color
from matting_pixels.decontaminate import decontaminate
from matting_pixels.fit import resize
from matting_pixels.refine import refine_guided
from PIL import Image
from testkit.hair import Scene, absolute_difference, gradient_error, hairy_scene
from testkit.photos import sample_photo

WIDTH, HEIGHT, GRID = 1600, 1200, 320
SAMPLES = pathlib.Path(__file__).parents[2] / ".cache" / "samples"
SCENES = {
    ("coffee.png", "black hair"): (20, 18, 20),
    ("rocket.jpg", "blond hair"): (205, 175, 120),
    ("chelsea.png", "black hair"): (20, 18, 20),
    ("motorcycle_left.png", "blond hair"): (205, 175, 120),
    ("astronaut.png", "brown hair"): (70, 45, 30),
    ("retina.jpg", "blond hair"): (205, 175, 120),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    header = f"{'scene':32s} {'SAD':>14s} {'gradient':>16s} {'SAD, unsure':>14s} {'edge colour':>14s}"
    print(header)
    for seed, ((name, hair), color) in enumerate(SCENES.items()):
        scene = hairy_scene(sample_photo(WIDTH, HEIGHT, SAMPLES / name), color, seed)
        print(f"{hair + ' over ' + name:32s} {report(scene)}")
        if seed == 1:
            draw(scene, arguments.out / "imaging-quality.png")


def report(scene: Scene) -> str:
    small = resize(scene.alpha, GRID, GRID)
    plain, guided = enlarge(small), refine_guided(scene.photo, small)
    unsure = cv2.GaussianBlur(small, (0, 0), 1.0)
    plain_unsure, guided_unsure = enlarge(unsure), refine_guided(scene.photo, unsure)
    soft = (scene.alpha > 0) & (scene.alpha < 255)
    before = np.abs(scene.photo[soft] - scene.foreground[soft]).mean()
    after = np.abs(decontaminate(scene.photo, scene.alpha)[soft] - scene.foreground[soft]).mean()
    pairs = (
        (absolute_difference(plain, scene.alpha), absolute_difference(guided, scene.alpha)),
        (gradient_error(plain, scene.alpha), gradient_error(guided, scene.alpha)),
        (absolute_difference(plain_unsure, scene.alpha), absolute_difference(guided_unsure, scene.alpha)),
        (before, after),
    )
    return " ".join(f"{old:6.1f} > {new:5.1f}" for old, new in pairs)


def enlarge(small: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(small).resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS))


def draw(scene: Scene, path: pathlib.Path) -> None:
    """Photo, plain enlargement, guided, and the two cutouts over green: raw and decontaminated."""
    small = resize(scene.alpha, GRID, GRID)
    guided = refine_guided(scene.photo, small)
    green = (60, 180, 75)
    panels = [
        scene.photo,
        cv2.cvtColor(enlarge(small), cv2.COLOR_GRAY2RGB),
        cv2.cvtColor(guided, cv2.COLOR_GRAY2RGB),
        over_color(scene.photo, enlarge(small), green),
        over_color(scene.photo, guided, green),
        over_color(decontaminate(scene.photo, guided), guided, green),
    ]
    cuts = [panel[150:570, 950:1370] for panel in panels]
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [np.concatenate(cuts[start : start + 3], axis=1) for start in (0, 3)]
    Image.fromarray(np.concatenate(rows)).save(path)


if __name__ == "__main__":
    main()
