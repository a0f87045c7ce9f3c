# SPDX-License-Identifier: Apache-2.0
"""How near to the truth the edge is: plain, GUIDED and MATTING, beside rembg, rembg's alpha matting and pymatting.

Run: python tests/bench/edges.py [--rivals PYTHON] [--folder DIR] [--write DIR]. Without --folder it draws the project's
own set (edges_scenes.py). With it, DIR/photo/NAME.* and DIR/alpha/NAME.* are photos and their true alphas, and every
such pair is measured. --rivals names the Python of an environment with `rembg[cpu]` and `pymatting`, which share the
model's file (.cache/models/u2net.onnx). --write keeps the pictures. Prints Markdown.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields

import cv2
import numpy as np
import onnxruntime
from bench.edges_metrics import Errors, errors
from bench.edges_scenes import scenes
from matting_pixels.fit import resize
from matting_pixels.matting import refine_matting
from matting_pixels.refine import refine_guided
from numpy.typing import NDArray
from PIL import Image

ROOT = pathlib.Path(__file__).parents[2]
GRID_PX = 320
RIVALS = ("rembg", "rembg_matting", "pymatting")

Picture = NDArray[np.uint8]
OURS: dict[str, Callable[[Picture, Picture], Picture]] = {
    "plain": lambda photo, alpha: resize(alpha, photo.shape[1], photo.shape[0]),
    "GUIDED": refine_guided,
    "MATTING": lambda photo, alpha: refine_matting(photo, alpha).alpha,
}


@dataclass
class Measured:
    """What became of one picture, by method."""

    name: str
    megapixels: float
    errors: dict[str, Errors] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    solved: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals", type=pathlib.Path)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--write", type=pathlib.Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    model = onnxruntime.InferenceSession(
        str(ROOT / "model_repository" / "u2net" / "1" / "model.onnx"), options, providers=["CPUExecutionProvider"]
    )
    measured: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for number, (name, photo, truth) in enumerate(pairs(arguments.folder)):
            small = cv2.resize(photo, (GRID_PX, GRID_PX), interpolation=cv2.INTER_AREA)
            alpha = model.run(["alpha"], {"image": small[None]})[0][0]
            measured.append(measure(name, photo, truth, alpha))
            save(work / f"photo-{number:03}.png", photo)
            save(work / f"model-{number:03}.png", OURS["plain"](photo, alpha))
            save(work / f"truth-{number:03}.png", truth)
            if arguments.write:
                keep(arguments.write, name, photo, truth)
        if arguments.rivals:
            measure_rivals(arguments.rivals, work, measured)
    report(measured)


def pairs(folder: pathlib.Path | None) -> Iterator[tuple[str, Picture, Picture]]:
    """Yield name, photo uint8 [H, W, 3] and true alpha uint8 [H, W]."""
    if folder is None:
        for name, scene in scenes():
            yield name, scene.photo, scene.alpha
        return
    truths = {path.stem: path for path in (folder / "alpha").iterdir()}
    for path in sorted((folder / "photo").iterdir()):
        if path.stem not in truths:
            raise SystemExit(f"{path} has no true alpha in {folder / 'alpha'}")
        photo, truth = Image.open(path).convert("RGB"), Image.open(truths[path.stem])
        alpha = truth.getchannel("A") if truth.mode in ("RGBA", "LA") else truth.convert("L")
        if alpha.size != photo.size:
            raise SystemExit(f"{path} is of {photo.size}, its true alpha of {alpha.size}")
        yield path.stem, np.asarray(photo), np.asarray(alpha)


def measure(name: str, photo: Picture, truth: Picture, alpha: Picture) -> Measured:
    """Make the alpha in each of our ways, and time the faster of two runs."""
    result = Measured(name, truth.size / 1e6)
    for method, make in OURS.items():
        times = []
        for _ in range(2):
            since_s = time.thread_time()
            made = make(photo, alpha)
            times.append(time.thread_time() - since_s)
        result.errors[method], result.seconds[method] = errors(made, truth), min(times)
    result.solved = refine_matting(photo, alpha).solved
    return result


def measure_rivals(python: pathlib.Path, work: pathlib.Path, measured: list[Measured]) -> None:
    """Have the rivals make their alphas in an environment of their own."""
    home = work / "models"
    home.mkdir()
    (home / "u2net.onnx").symlink_to(ROOT / ".cache" / "models" / "u2net.onnx")
    environment = os.environ | {"U2NET_HOME": str(home)}
    script = pathlib.Path(__file__).with_name("edges_rivals.py")
    subprocess.run([python, script, work], check=True, env=environment)
    times = json.loads((work / "times.json").read_text())
    for number, each in enumerate(measured):
        truth = np.asarray(Image.open(work / f"truth-{number:03}.png"))
        for rival in RIVALS:
            made = np.asarray(Image.open(work / f"{rival}-{number:03}.png"))
            each.errors[rival], each.seconds[rival] = errors(made, truth), times[f"{rival}-{number:03}"]


def report(measured: list[Measured]) -> None:
    """Print three tables: all measures, SAD by kind of subject, time by size."""
    methods = list(measured[0].errors)
    print(f"{len(measured)} pictures; median (mean, worst)\n")
    print("| | " + " | ".join(methods) + " |\n|---" * 1 + "|---" * len(methods) + "|")
    for measure_field in fields(Errors):
        cells = []
        for method in methods:
            values = [getattr(each.errors[method], measure_field.name) for each in measured]
            cells.append(f"{statistics.median(values):.2f} ({statistics.mean(values):.2f}, {max(values):.1f})")
        print(f"| {measure_field.name} | " + " | ".join(cells) + " |")
    seconds = [[each.seconds[method] for each in measured] for method in methods]
    cells = [f"{statistics.median(each):.3f} ({statistics.mean(each):.3f}, {max(each):.2f})" for each in seconds]
    print("| CPU s | " + " | ".join(cells) + " |\n")
    kinds = defaultdict(list)
    for each in measured:
        kinds[each.name.partition(" over ")[0].rstrip(" 0123456789")].append(each)
    print("| median SAD | pictures | " + " | ".join(methods) + " |\n|---|---" + "|---" * len(methods) + "|")
    for kind, those in kinds.items():
        cells = [f"{statistics.median(each.errors[method].sad for each in those):.2f}" for method in methods]
        print(f"| {kind} | {len(those)} | " + " | ".join(cells) + " |")
    ratios = sorted((each.errors["MATTING"].sad / max(each.errors["GUIDED"].sad, 1e-9), each.name) for each in measured)
    worst = max(each.seconds["MATTING"] - 0.1 - 0.15 * min(each.megapixels, 1.0) for each in measured)
    print(
        f"\nMATTING to GUIDED, picture by picture: best {ratios[0][0]:.2f}, worst {ratios[-1][0]:.2f} ({ratios[-1][1]})"
    )
    print(f"solved: {sum(each.solved for each in measured)} of {len(measured)}")
    print(f"slowest against 0.1 s + 0.15 s a megapixel up to one: {worst:+.3f} s")


def keep(folder: pathlib.Path, name: str, photo: Picture, truth: Picture) -> None:
    """Write a pair as --folder reads it."""
    for kind, pixels in (("photo", photo), ("alpha", truth)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        save(folder / kind / f"{name.replace(' ', '-')}.png", pixels)


def save(path: pathlib.Path, pixels: Picture) -> None:
    Image.fromarray(pixels).save(path, compress_level=1)


if __name__ == "__main__":
    main()
