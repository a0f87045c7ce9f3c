# SPDX-License-Identifier: Apache-2.0
"""What a photo costs beside the model: `python tests/bench/photo_cost.py [--before CHECKOUT] [--pairs N]`.

A gateway of this tree and one of another checkout (its own `.venv`), both before one Triton with a model that does
nothing, or one of the repository (`--model`), answer the same photos in turn: 1600x1600 JPEG in, alpha PNG out, callers
in a closed loop. Prints Markdown: photos a second, and processor time a photo by what used it, with the medians of the
ratios of pairs; and what the native calls of such a photo take alone.
"""

import argparse
import asyncio
import io
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import cv2
import matting_load as load
import numpy as np
import psutil
import simplejpeg
from bench.end_to_end import machine
from matting_gateway.imaging.writers.png import encode_png
from matting_pixels.fit import resize, shrink
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from PIL import Image
from testkit import program
from testkit.local_triton import CACHE_DIR, QUICK_START, copy_models
from testkit.perf_analyzer import cpu_s, tree
from testkit.photos import sample_photo
from testkit.program import Service, running_service

SIDE_PX = 1600


@dataclass
class Tree:
    """One checkout's gateway, and what was measured of it, run by run."""

    name: str
    service: Service
    per_s: list[float] = field(default_factory=list)
    ms: dict[str, list[float]] = field(default_factory=dict)


def used_s(service: Service) -> dict[str, float]:
    """Return the processor seconds so far of the gateway's event loop, its whole process, and its workers."""
    gateway, *workers = tree(service.process.pid)
    threads = psutil.Process(gateway).threads()
    loop = sum(thread.user_time + thread.system_time for thread in threads if thread.id == gateway)
    return {"loop": loop, "gateway": cpu_s([gateway]), "workers": cpu_s(workers)}


async def answered(target: load.GatewayTarget | load.RembgTarget, callers: int, seconds: float) -> load.Summary:
    """Have one photo answered over and over, and return how that went."""
    plan = load.Plan(
        target,
        load.ClosedLoop(callers, seconds),
        photos=load.Photos(sizes=(load.PhotoSize(SIDE_PX, SIDE_PX),)),
        warmup_s=0.0,
        drain_s=60,
    )
    return (await load.run_async(plan)).total


async def measure(measured: Tree, model: str, callers: int, seconds: float) -> None:
    before = used_s(measured.service)
    total = await answered(load.GatewayTarget(measured.service.address, model=model), callers, seconds)
    count = total.throughput_per_s * total.duration_s
    used = {name: value - before[name] for name, value in used_s(measured.service).items()}
    measured.per_s.append(total.throughput_per_s)
    for name, value in (used | {"all": used["gateway"] + used["workers"]}).items():
        measured.ms.setdefault(name, []).append(1e3 * value / count)


def native_ms(rounds: int = 40) -> float:
    """Return what decoding at half size, resizing, enlarging and packing take by themselves."""
    buffer = io.BytesIO()
    Image.fromarray(sample_photo(SIDE_PX, SIDE_PX)).save(buffer, "JPEG", quality=90)
    content = buffer.getvalue()
    cv2.setNumThreads(1)
    color = np.empty((SIDE_PX // 2, SIDE_PX // 2, 3), np.uint8)
    took = []
    for _ in range(rounds):
        start = time.process_time()
        simplejpeg.decode_jpeg(content, "RGB", min_height=SIDE_PX // 2, min_width=SIDE_PX // 2, buffer=color)
        # The model that does nothing answers a colour of its input.
        matte = np.ascontiguousarray(shrink(color, 320, 320)[..., 0])
        encode_png(resize(matte, SIDE_PX, SIDE_PX))
        took.append(time.process_time() - start)
    return 1e3 * statistics.median(took)


def given_model(name: str, folder: Path) -> Path | None:
    """Put the model into a repository; returns its file, or None where it is the one that does nothing."""
    if name == "nothing":
        copy_models([name], folder)
        return None
    (folder / name).symlink_to(program.ROOT / "model_repository" / name)
    return program.ROOT / "model_repository" / name / "1" / "model.onnx"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="another checkout, to measure beside this one")
    parser.add_argument("--model", default="nothing", help="or a model of model_repository")
    parser.add_argument("--callers", type=int, nargs="+", default=[16])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    print(f"{machine()}; native calls alone {native_ms():.1f} ms\n", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        given_model(given.model, Path(folder))
        with LocalTriton(ensure_runtime(CACHE_DIR), Path(folder), extra_arguments=QUICK_START) as triton:
            async with AsyncExitStack() as stack:
                trees = []
                for name, checkout in (("before", given.before), ("this tree", program.ROOT)):
                    if checkout is not None:
                        program.PROGRAM = checkout.resolve() / ".venv" / "bin" / "matting-gateway"
                        arguments = ("--triton", triton.grpc_address, "--default-model", given.model)
                        trees.append(Tree(name, await stack.enter_async_context(running_service(*arguments))))
                for callers in given.callers:
                    for measured in trees:
                        await measure(measured, given.model, callers, 3.0)
                        measured.per_s.clear()
                        measured.ms.clear()
                    for number in range(given.pairs):
                        for measured in trees if number % 2 else reversed(trees):
                            await measure(measured, given.model, callers, given.seconds)
                    show(trees, callers)


def show(trees: list[Tree], callers: int) -> None:
    names = list(trees[-1].ms)
    print(f"| {callers} callers | photos/s | " + " | ".join(f"{name}, ms" for name in names) + " |")
    print("|---|" + "---|" * (len(names) + 1))
    for measured in trees:
        cells = [statistics.median(measured.per_s), *(statistics.median(measured.ms[name]) for name in names)]
        print(f"| {measured.name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")
    if len(trees) == 2:
        old, new = trees
        ratios = [_ratio(old.per_s, new.per_s), *(_ratio(old.ms[name], new.ms[name]) for name in names)]
        print("| ratio | " + " | ".join(f"{ratio:.2f}" for ratio in ratios) + " |", flush=True)


def _ratio(before: list[float], after: list[float]) -> float:
    return statistics.median(new / old for old, new in zip(before, after, strict=True))


if __name__ == "__main__":
    asyncio.run(main())
