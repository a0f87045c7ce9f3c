# SPDX-License-Identifier: Apache-2.0
"""Whether photos with a subject are told from photos without one, by the default model's alpha.

Run: python tests/bench/imaging_subject.py [--pictures DIR]. DIR (default: the sample photos) may be skimage/data of
the scikit-image wheel, which has brick, gravel and grass as well. Prints Markdown: how many of each kind are said to
have a subject, and how decided the alphas are.
"""

import argparse
import pathlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import openvino
from matting_pixels.fit import resize
from matting_pixels.subject import decidedness, find_subject
from numpy.typing import NDArray
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
MODEL = ROOT / "model_repository" / "u2net" / "1" / "model.onnx"
SIDE = 320
SUBJECTS = (
    "astronaut.png", "camera.png", "chelsea.png", "clock_motion.png", "coffee.png", "horse.png", "motorcycle_left.png",
    "rocket.jpg",
)  # fmt: skip
NONE = ("hubble_deep_field.jpg", "moon.png", "page.png", "text.png")
TEXTURES = ("brick.png", "gravel.png", "grass.png")
Picture = NDArray[np.uint8]


def variants(photo: Picture) -> Iterator[Picture]:
    """Yield a photo as it is, and as photos of the same thing may be: mirrored, small, dark, blurred, gray..."""
    height, width = photo.shape[:2]
    rng = np.random.default_rng(0)
    yield photo
    yield photo[:, ::-1].copy()
    yield resize(photo, width // 4, height // 4)
    yield (photo * 0.3).astype(np.uint8)
    yield cv2.GaussianBlur(photo, (0, 0), 4).astype(np.uint8)
    yield photo[height // 8 : -height // 8, width // 8 : -width // 8].copy()
    edge = cv2.BORDER_REPLICATE
    yield cv2.copyMakeBorder(photo, height // 3, height // 3, width // 3, width // 3, edge).astype(np.uint8)
    yield cv2.cvtColor(cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    yield np.clip(photo + rng.normal(0, 20, photo.shape), 0, 255).astype(np.uint8)


def crops(texture: Picture, rng: np.random.Generator) -> Iterator[Picture]:
    """Yield pieces of a texture, near and far, in different light."""
    for _ in range(12):
        side = int(rng.integers(150, min(texture.shape[:2]) + 1))
        top, left = (int(rng.integers(0, length - side + 1)) for length in texture.shape[:2])
        yield (texture[top : top + side, left : left + side] * rng.uniform(0.5, 1, 3)).astype(np.uint8)


def one_color(rng: np.random.Generator) -> Picture:
    return np.full((SIDE, SIDE, 3), rng.integers(0, 256, 3), np.uint8)


def gray_level(rng: np.random.Generator) -> Picture:
    return np.full((SIDE, SIDE, 3), rng.integers(0, 256), np.uint8)


def blend(rng: np.random.Generator) -> Picture:
    rows, columns = np.mgrid[:SIDE, :SIDE] / SIDE
    angle, (first, second) = rng.uniform(0, 2 * np.pi), rng.integers(0, 256, (2, 3))
    share = np.cos(angle) * columns + np.sin(angle) * rows
    share = (share - share.min()) / np.ptp(share)
    picture: Picture = (first + (second - first) * share[..., None]).astype(np.uint8)
    return picture


def vignette(rng: np.random.Generator) -> Picture:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    first, second = rng.integers(0, 256, (2, 3))
    middle, reach = rng.integers(80, 240, 2), rng.integers(200, 400)
    share = (np.hypot(rows - middle[0], columns - middle[1]) / reach) ** 2
    picture: Picture = np.clip(first + (second - first) * share[..., None], 0, 255).astype(np.uint8)
    return picture


def noise(rng: np.random.Generator) -> Picture:
    return np.clip(rng.normal(rng.integers(60, 200, 3), rng.uniform(3, 90), (SIDE, SIDE, 3)), 0, 255).astype(np.uint8)


def clouds(rng: np.random.Generator) -> Picture:
    cloud = cv2.GaussianBlur(rng.normal(0, 1, (SIDE, SIDE)).astype(np.float32), (0, 0), float(rng.uniform(3, 60)))
    cloud = ((cloud - cloud.mean()) / cloud.std())[..., None]
    base = rng.integers(60, 220, 3)
    picture: Picture = np.clip(base + rng.uniform(8, 40) * cloud * rng.uniform(0.4, 1, 3), 0, 255).astype(np.uint8)
    return picture


DRAWN = {"one colour": one_color, "one gray": gray_level, "two colours blending": blend, "vignettes": vignette,
         "noise": noise, "clouds": clouds}  # fmt: skip


def kinds(folder: pathlib.Path) -> Iterator[tuple[str, list[Picture]]]:
    def load(name: str) -> Picture:
        return np.asarray(Image.open(folder / name).convert("RGB"))

    for name in SUBJECTS:
        yield f"subject: {name}", list(variants(load(name)))
    for name in (name for name in NONE if (folder / name).exists()):
        yield f"none: {name}", list(variants(load(name)))
    for name in (name for name in TEXTURES if (folder / name).exists()):
        yield f"none: {name}", list(crops(load(name), np.random.default_rng(1)))
    for name, draw in DRAWN.items():
        rng = np.random.default_rng(2)
        yield f"none: {name}", [draw(rng) for _ in range(15)]


def alphas(model: Callable[[Picture], dict[int, NDArray[np.uint8]]], photos: list[Picture]) -> list[Picture]:
    return [model(resize(photo, SIDE, SIDE)[np.newaxis])[0][0] for photo in photos]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=pathlib.Path, default=ROOT / ".cache" / "samples")
    folder = parser.parse_args().pictures
    core = openvino.Core()
    model = core.compile_model(core.read_model(MODEL), "CPU")
    print("| pictures | of so many | said to have a subject | decidedness |")
    print("|---|---|---|---|")
    for name, photos in kinds(folder):
        made = alphas(model, photos)
        found = sum(find_subject(alpha).box is not None for alpha in made)
        decided = sorted(decidedness(alpha) for alpha in made)
        print(f"| {name} | {len(made)} | {found} | {decided[0]:.2f} to {decided[-1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
