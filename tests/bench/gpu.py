# SPDX-License-Identifier: Apache-2.0
"""The default model on a GPU behind the gateway: what the engine gives alone, what callers get, what is busy.

`python tests/bench/gpu.py --onnxruntime FOLDER [--libraries FOLDER:FOLDER]`, on a machine with an NVIDIA GPU. FOLDER
holds onnxruntime's build for GPUs (`pip install --target FOLDER --no-deps onnxruntime-gpu`); the libraries of CUDA and
cuDNN are found as the dynamic linker finds them, or in the folders named. Prints Markdown.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import matting_load as load
import numpy as np
import psutil
from bench.end_to_end import machine
from bench.two_cores import engine_per_s
from matting.v1 import matting_service_pb2 as pb
from matting_load.plan import Target
from matting_models.repository.config import render
from matting_models.repository.config_reader import read_config
from matting_models.repository.variants import Variant
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from PIL import Image
from testkit.default_model import ROOT, SAMPLES, f32_repository
from testkit.local_triton import CACHE_DIR
from testkit.perf_analyzer import cpu_s, ensure_perf_analyzer, tree
from testkit.program import Service, running_service

SIDE_PX = 1600
ENGINE_LOADS = ((1, 1), (1, 2), (8, 1), (8, 2), (8, 4), (16, 2), (16, 4))  # rows in a batch, batches in flight


@dataclass(frozen=True)
class Entry:
    """How the model is served: so many instances, batches of so many rows at most."""

    instance_count: int
    max_batch_size: int
    precision: str = "auto"

    @property
    def name(self) -> str:
        return f"u2net-cuda-{self.instance_count}x{self.max_batch_size}-{self.precision}"

    @classmethod
    def of(cls, text: str) -> "Entry":
        """Read INSTANCESxROWS or INSTANCESxROWS:PRECISION."""
        numbers, _, precision = text.partition(":")
        instances, _, rows = numbers.partition("x")
        return cls(int(instances), int(rows), precision or "auto")


def add_entry(folder: Path, entry: Entry) -> None:
    """Write the entry into a repository, with the default model's file by link."""
    source = ROOT / "model_repository" / "u2net"
    variant = Variant("cuda", entry.precision)
    config = dataclasses.replace(
        read_config(source / "config.pbtxt"),
        name=entry.name,
        engine=variant.engine,
        precision=variant.declared_precision,
        accelerator=variant.accelerator((320, 320, 3), (1, entry.max_batch_size)),
        on_gpu=True,
        instance_count=entry.instance_count,
        max_batch_size=entry.max_batch_size,
        backend_parameters=variant.backend_parameters,
        warmup_batch_sizes=variant.warmup_batch_sizes(entry.max_batch_size),
    )
    (folder / entry.name / "1").mkdir(parents=True)
    os.link(source / "1" / "model.onnx", folder / entry.name / "1" / "model.onnx")
    (folder / entry.name / "config.pbtxt").write_text(render(config))


def with_onnxruntime(runtime: Runtime, packages: Path, folder: Path) -> Runtime:
    """Make a runtime in `folder` that is `runtime` by links, but for the onnxruntime of `packages`."""
    for part in (runtime.tritonserver.parents[3], runtime.backends):
        (folder / part.name).symlink_to(part)
    (inside,) = runtime.environment_folder.glob("lib/python3.*/site-packages")
    environment = folder / runtime.environment_folder.name
    places = environment / inside.relative_to(runtime.environment_folder)
    places.mkdir(parents=True)
    (environment / "bin").symlink_to(runtime.environment_folder / "bin")
    shutil.copy(runtime.environment_folder / "pyvenv.cfg", environment)
    for path in inside.iterdir():
        (places / path.name).symlink_to((packages if path.name == "onnxruntime" else inside) / path.name)
    return dataclasses.replace(runtime, root=folder)


@dataclass(frozen=True)
class Busy:
    """Processor seconds so far, by what used them; `loop` is the gateway's event loop, a part of `gateway`."""

    at_s: float
    by: dict[str, float]

    def cores_since(self, earlier: "Busy") -> dict[str, float]:
        elapsed_s = self.at_s - earlier.at_s
        return {name: (self.by[name] - earlier.by[name]) / elapsed_s for name in self.by}


def busy(services: list[Service], triton: LocalTriton) -> Busy:
    trees = [tree(service.process.pid) for service in services]
    loops = [
        thread.user_time + thread.system_time
        for gateway, *_ in trees
        for thread in psutil.Process(gateway).threads()
        if thread.id == gateway
    ]
    by = {
        "loop": sum(loops),
        "gateway": cpu_s([gateway for gateway, *_ in trees]),
        "decoders": cpu_s([decoder for _, *decoders in trees for decoder in decoders]),
        "triton": cpu_s(tree(triton.pid)),
        "everything": sum(psutil.cpu_times()[i] for i in (0, 1, 2, 5, 6)),
    }
    return Busy(time.monotonic(), by)


def gpu_name() -> str:
    command = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def watching_gpu() -> Iterator[list[tuple[float, float]]]:
    """Collect (share of the time that kernels ran, MiB of memory) meanwhile, every half second."""
    seen: list[tuple[float, float]] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits", "-lms", "500"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield seen
    finally:
        process.terminate()
        for line in (process.communicate()[0] or "").splitlines():
            with contextlib.suppress(ValueError):
                share, mib = map(float, line.split(","))
                seen.append((share / 100, mib))


async def row(
    title: str,
    targets: list[Target],
    callers: int,
    options: argparse.Namespace,
    services: list[Service],
    triton: LocalTriton,
) -> str:
    """Load all targets at once, in closed loops, and say what came of it and what was busy."""
    plans = [
        load.Plan(
            target,
            load.ClosedLoop(max(1, callers // len(targets)), options.seconds + options.warmup_s),
            photos=load.Photos(sizes=(load.PhotoSize(SIDE_PX, SIDE_PX),)),
            warmup_s=options.warmup_s,
            processes=min(2, max(1, callers // len(targets))),
            drain_s=60,
            metrics_url=f"http://{services[0].metrics_address}/metrics",
        )
        for target in targets
    ]
    runs = [asyncio.create_task(load.run_async(plan)) for plan in plans]
    await asyncio.sleep(options.warmup_s + 0.5)
    before = busy(services, triton)
    with watching_gpu() as seen:
        await asyncio.sleep(options.seconds - 1)
        cores = busy(services, triton).cores_since(before)
    reports = [await run for run in runs]
    per_s = sum(report.total.throughput_per_s for report in reports)
    p50_ms = max((1e3 * report.total.latency.p50_s for report in reports if report.total.latency), default=float("nan"))
    batches = [(_middle(size), count) for report in reports for size, count in report.batch_sizes.items()]
    batch = sum(size * count for size, count in batches) / max(1, sum(count for _, count in batches))
    gpu = sum(share for share, _ in seen) / max(1, len(seen))
    good = sum(report.total.good_share for report in reports) / len(reports)
    return (
        f"| {title} | {callers} | {per_s:.1f} | {p50_ms:.1f} | {batch:.1f} | {gpu:.0%} | "
        + " | ".join(f"{cores[name]:.2f}" for name in ("loop", "gateway", "decoders", "triton", "everything"))
        + f" | {max((mib for _, mib in seen), default=0):.0f} | {good:.3f} |"
    )


def _middle(sizes: str) -> float:
    """Return the size that a bucket of the batch sizes stands for: `8`, `5-6`, `over 64`."""
    return float(np.mean([int(number) for number in re.findall(r"\d+", sizes)]))


HEAD = (
    "| what | callers | a second | p50 ms | batch | GPU busy "
    "| loop | gateway | decoders | Triton | all cores | GPU MiB | good |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|---|---|"
)


async def differences(service: Service, one: str, other: str) -> list[float]:
    """Return the mean difference of two models' alphas, of 1.0, for each sample photo."""
    found = []
    for path in sorted(SAMPLES.glob("*.png")):
        buffer = io.BytesIO()
        Image.open(path).convert("RGB").save(buffer, "JPEG", quality=95)
        alphas = []
        for model in (one, other):
            photo = pb.EncodedImage(content=buffer.getvalue())
            answer = await service.stub.RemoveBackground(
                pb.RemoveBackgroundRequest(encoded=photo, model=pb.ModelRef(name=model))
            )
            alphas.append(np.asarray(Image.open(io.BytesIO(answer.outputs[0].encoded.content)), dtype=np.float64))
        found.append(float(np.abs(alphas[0] - alphas[1]).mean() / 255))
    return found


@contextlib.asynccontextmanager
async def gateways(count: int, triton: LocalTriton, model: str) -> AsyncIterator[list[Service]]:
    async with contextlib.AsyncExitStack() as stack:
        arguments = ("--triton", triton.grpc_address, "--default-model", model)
        yield [await stack.enter_async_context(running_service(*arguments)) for _ in range(count)]


async def main() -> None:
    options = _arguments()
    environment = {"LD_LIBRARY_PATH": options.libraries}
    analyzer = ensure_perf_analyzer(CACHE_DIR)
    print(f"{gpu_name()}; {machine()}\n", flush=True)
    for position, entry in enumerate(map(Entry.of, options.entries)):
        with tempfile.TemporaryDirectory(dir=CACHE_DIR) as name:
            runtime = with_onnxruntime(ensure_runtime(CACHE_DIR), Path(options.onnxruntime), Path(name))
            folder = runtime.root / "models"
            folder.mkdir()
            if position == 0:
                f32_repository(folder)
            add_entry(folder, entry)
            began_s = time.monotonic()
            with LocalTriton(runtime, folder, environment=environment) as triton:
                print(
                    f"\n{entry.name}: loaded in {time.monotonic() - began_s:.0f} s; {triton.failed_models or 'well'}",
                    flush=True,
                )
                if triton.failed_models:
                    print("\n".join(triton.log_tail))
                    continue
                alone = {}
                for load_ in ENGINE_LOADS:
                    if load_[0] <= entry.max_batch_size:
                        alone[load_] = await engine_per_s(
                            analyzer, triton.grpc_address, entry.name, (load_,), window_batches=60
                        )
                print(
                    "engine alone, images/s (rows, in flight): " + ", ".join(f"{k}: {v:.0f}" for k, v in alone.items())
                )
                print(HEAD, flush=True)
                for count in options.gateways if position == 0 else options.gateways[:1]:
                    async with gateways(count, triton, entry.name) as services:
                        await _measure(entry, services, triton, options, first=position == 0 and count == 1)


async def _measure(
    entry: Entry, services: list[Service], triton: LocalTriton, options: argparse.Namespace, *, first: bool
) -> None:
    many = f", {len(services)} gateways" if len(services) > 1 else ""
    if first:
        apart = await differences(services[0], entry.name, "u2net-f32")
        print(
            f"(alpha beside u2net-f32 on the CPU: mean {np.mean(apart):.5f}, worst photo {np.max(apart):.5f})",
            flush=True,
        )
    photos: list[Target] = [load.GatewayTarget(service.address, model=entry.name) for service in services]
    tensors: list[Target] = [load.TensorTarget(service.address, entry.name) for service in services]
    for callers in options.callers:
        print(await row(f"photos{many}", photos, callers, options, services, triton), flush=True)
    for callers in options.tensor_callers:
        print(await row(f"tensors{many}", tensors, callers, options, services, triton), flush=True)
        if len(services) == 1:
            direct: list[Target] = [load.TensorTarget(triton.grpc_address, entry.name)]
            print(await row("tensors, Triton directly", direct, callers, options, services, triton), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--onnxruntime", required=True, help="folder of the packages of onnxruntime's build for GPUs")
    parser.add_argument("--libraries", default="", help="folders of CUDA's and cuDNN's libraries, with colons between")
    parser.add_argument(
        "--entries", nargs="+", default=["1x8", "2x8", "2x16", "4x16"], help="INSTANCESxROWS[:PRECISION]"
    )
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16, 64, 128])
    parser.add_argument("--tensor-callers", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--warmup-s", type=float, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main())
