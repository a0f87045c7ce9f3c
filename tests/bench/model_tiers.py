# SPDX-License-Identifier: Apache-2.0
"""What entries of a repository cost a photo and how near their alphas are to true ones.

    .venv/bin/python tests/bench/model_tiers.py u2net u2net-int8 [--repository DIR] [--every N]

The photos are the drawn ones of edges_scenes.py, each Nth of them. Each entry is run by the engine that its
configuration names, the photo stretched to its size and the alpha brought back by Lanczos, as rembg does; nothing is
refined. SAD is the sum of differences in thousands, and processor time that of all threads of one inference: it moves
less than time by the clock does where others use the machine as well.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from bench.edges_scenes import scenes
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.repository.variants import openvino_properties
from matting_models.trials.engines import OnnxRuntimeRunner, OpenVinoRunner, Pixels, Runner
from matting_models.trials.pictures import at_size
from numpy.typing import NDArray
from PIL import Image
from testkit.hair import Scene

_LATENCY = {"PERFORMANCE_HINT": "LATENCY"}


@dataclass(frozen=True)
class Figures:
    """SAD in thousands and mean squared error of each picture, and processor seconds of each inference."""

    sads: NDArray[np.float64]
    mses: NDArray[np.float64]
    processor_s: NDArray[np.float64]


def measure(repository: Repository, name: str, chosen: list[Scene]) -> Figures:
    """Run an entry on each scene."""
    config = read_config(repository.config_path(name))
    runner: Runner
    if config.engine == "openvino":
        properties = openvino_properties(config.accelerator) | _LATENCY
        runner = OpenVinoRunner(repository.model_path(name), properties)
    else:
        runner = OnnxRuntimeRunner(repository.model_path(name))
    runner.run(np.zeros((1, *config.sides_px, 3), np.uint8))
    rows = [_figures_of(runner, config.sides_px, scene) for scene in chosen]
    return Figures(*(np.array(column) for column in zip(*rows, strict=True)))


def _figures_of(runner: Runner, sides_px: tuple[int, int], scene: Scene) -> tuple[float, float, float]:
    fed = at_size(Image.fromarray(scene.photo), sides_px)
    start = time.process_time()
    alpha = runner.run(fed[None])[0]
    spent = time.process_time() - start
    difference = _at_size_of(scene, alpha) - scene.alpha / 255
    return float(np.abs(difference).sum() / 1000), float(np.square(difference).mean()), spent


def _at_size_of(scene: Scene, alpha: Pixels) -> NDArray[np.float64]:
    height, width = scene.alpha.shape
    return np.asarray(Image.fromarray(alpha).resize((width, height), Image.Resampling.LANCZOS)) / 255


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    chosen = [scene for index, (_, scene) in enumerate(scenes()) if index % arguments.every == 0]
    print(f"{len(chosen)} pictures")
    print(f"{'entry':16} {'SAD median':>10} {'mean':>7} {'worst':>7} {'MSE':>7} {'processor s':>11}")
    for name in arguments.names:
        found = measure(Repository(arguments.repository), name, chosen)
        print(
            f"{name:16} {np.median(found.sads):10.1f} {found.sads.mean():7.1f} {found.sads.max():7.1f} "
            f"{found.mses.mean():7.4f} {np.median(found.processor_s):11.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
