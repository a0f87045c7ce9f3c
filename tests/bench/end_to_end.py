# SPDX-License-Identifier: Apache-2.0
"""Photos a second, end to end, against rembg's own server: same weights, same photos, same cores, same run.

1600x1600 JPEG in, alpha PNG out, 4 and 16 callers in closed loops. All servers are up at once and
are measured one after the other, in rounds, so that what else the machine does hits all alike.
Prints Markdown. `python tests/bench/end_to_end.py [--rounds 2] [--seconds 20]`.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import matting_load as load
import psutil
from testkit.default_model import ROOT, f32_repository
from testkit.gateways import free_port
from testkit.program import Service, running_service

REMBG = "rembg[cpu,cli]==2.0.86"
STAGES = ("receive", "inspect", "decode", "queue", "inference", "render")


@dataclass
class Rival:
    """One server under measurement, and what was measured of it."""

    name: str
    target: load.GatewayTarget | load.RembgTarget
    pids: list[int]
    rates: dict[int, list[float]] = field(default_factory=dict)
    p50_s: dict[int, list[float]] = field(default_factory=dict)
    peak_bytes: int = 0


def resident_bytes(pids: list[int]) -> int:
    """Return the memory of processes and their children, each shared page counted once (PSS)."""
    total = 0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(pid)
            for process in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    total += process.memory_full_info().pss
    return total


@contextlib.contextmanager
def watching_memory(rival: Rival) -> Iterator[None]:
    """Record the peak of a rival's memory meanwhile."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            rival.peak_bytes = max(rival.peak_bytes, resident_bytes(rival.pids))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def rival_python(requirement: str) -> Path:
    """Return the interpreter of an environment with a rival, which is named exactly; installs it once."""
    name, version = requirement.split("==")
    environment = ROOT / ".cache" / f"{name.partition('[')[0]}-{version}"
    python = environment / "bin" / "python"
    if not (environment / "installed").exists():
        print(f"installing {requirement} for comparison ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", requirement], check=True)
        (environment / "installed").touch()
    return python


def wait_served(process: subprocess.Popen[bytes], url: str) -> None:
    """Return when a rival's server answers there."""
    while True:
        if process.poll() is not None:
            raise RuntimeError(f"the rival's server ended before it served {url}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError):
            urllib.request.urlopen(url, timeout=1).read()
            return
        threading.Event().wait(0.3)


@contextlib.contextmanager
def rembg_server() -> Iterator[tuple[str, int]]:
    """Run `rembg s` with the default model's weights; yields its URL and process id."""
    port = free_port(("127.0.0.1",))
    program = "from rembg.cli import main; main()"
    arguments = ["s", "--host", "127.0.0.1", "--port", str(port), "--log_level", "error", "--no-ui"]
    environment = {**os.environ, "U2NET_HOME": str(ROOT / ".cache" / "models"), "NO_COLOR": "1"}
    process = subprocess.Popen(
        [rival_python(REMBG), "-c", program, *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_served(process, f"{url}/openapi.json")
        yield url, process.pid
    finally:
        process.terminate()
        process.wait()


async def measure(rival: Rival, callers: int, seconds: float) -> None:
    warmup_s = min(8.0, seconds / 3)
    plan = load.Plan(
        rival.target,
        load.ClosedLoop(callers, seconds + warmup_s),
        photos=load.Photos(sizes=(load.PhotoSize(1600, 1600),)),
        warmup_s=warmup_s,
        drain_s=120,
    )
    with watching_memory(rival):
        report = await load.run_async(plan)
    rival.rates.setdefault(callers, []).append(report.total.throughput_per_s)
    if report.total.latency is not None:
        rival.p50_s.setdefault(callers, []).append(report.total.latency.p50_s)


def repository() -> Path:
    """Return a repository of the default model, its f32 twin and, where it is there, its int8 one; all by links."""
    folder = ROOT / ".cache" / f"bench-{os.getpid()}"
    f32_repository(folder)
    for name in ("u2net", "u2net-int8"):
        source = ROOT / "model_repository" / name
        if (source / "1" / "model.onnx").exists():
            (folder / name / "1").mkdir(parents=True)
            for path in [source / "config.pbtxt", *(source / "1").iterdir()]:
                os.link(path, folder / name / path.relative_to(source))
    return folder


def remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.unlink() if not path.is_dir() else path.rmdir()
    folder.rmdir()


async def stage_seconds(service: Service) -> dict[str, tuple[float, float]]:
    """Return (sum, count) of each stage."""
    samples = await service.metrics()
    return {
        stage: (
            samples.get(("matting_stage_seconds_sum", (("stage", stage),)), 0.0),
            samples.get(("matting_stage_seconds_count", (("stage", stage),)), 0.0),
        )
        for stage in STAGES
    }


def machine() -> str:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        "",
    )
    flags = Path("/proc/cpuinfo").read_text()
    amx, bf16 = ("yes" if name in flags else "no" for name in ("amx_bf16", "avx512_bf16"))
    return f"{os.cpu_count()} cores of {model}, AMX {amx}, avx512_bf16 {bf16}"


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--callers", type=int, nargs="+", default=[4, 16])
    options = parser.parse_args()
    folder = repository()
    try:
        with rembg_server() as (url, rembg_pid):
            async with running_service("--repository", str(folder), "--default-model", "u2net") as service:
                rivals, rembg, stages = await compare(service, url, rembg_pid, folder, options)
            alone = await peak_alone(max(options.callers), options.seconds)
    finally:
        remove(folder)
    show(rivals, rembg, stages, options.callers)
    print(
        f"\nPeak memory with u2net-f32 as the only model: {alone / 1e9:.2f} GB, rembg {rembg.peak_bytes / 1e9:.2f} GB."
    )


async def peak_alone(callers: int, seconds: float) -> int:
    """Return the peak memory of gateway, decoders and Triton with one model, as rembg has one."""
    folder = f32_repository(ROOT / ".cache" / f"bench-alone-{os.getpid()}")
    try:
        async with running_service("--repository", str(folder), "--default-model", "u2net-f32") as service:
            rival = Rival("alone", load.GatewayTarget(service.address), [service.process.pid])
            await measure(rival, callers, seconds)
            return rival.peak_bytes
    finally:
        remove(folder)


async def compare(
    service: Service, url: str, rembg_pid: int, folder: Path, options: argparse.Namespace
) -> tuple[list[Rival], Rival, dict[str, float]]:
    """Measure all in turn; returns the gateway's models, rembg, and where a photo's time went."""
    own = service.process.pid
    names = [name for name in ("u2net-f32", "u2net", "u2net-int8") if (folder / name).exists()]
    rivals = [Rival(f"gateway, {name}", load.GatewayTarget(service.address, model=name), [own]) for name in names]
    rembg = Rival("rembg s (f32)", load.RembgTarget(url), [rembg_pid])
    stages: dict[str, float] = {}
    for _ in range(options.rounds):
        for callers in options.callers:
            for rival in (*rivals, rembg):
                before = await stage_seconds(service)
                await measure(rival, callers, options.seconds)
                after = await stage_seconds(service)
                if rival is rivals[0] and callers == options.callers[0]:
                    for stage in STAGES:
                        count = after[stage][1] - before[stage][1]
                        stages[stage] = (after[stage][0] - before[stage][0]) / count if count else 0.0
    return rivals, rembg, stages


def show(rivals: list[Rival], rembg: Rival, stages: dict[str, float], counts: list[int]) -> None:
    print(f"\n1600x1600 JPEG in, alpha PNG out; {machine()}.\n")
    print(
        "| server | " + " | ".join(f"{c} callers, photos/s | times rembg | p50 s" for c in counts) + " | peak memory |"
    )
    print("|---|" + "---|" * (3 * len(counts) + 1))
    for rival in (*rivals, rembg):
        cells = []
        for callers in counts:
            ratio = statistics.median(
                ours / max(theirs, 1e-9)
                for ours, theirs in zip(rival.rates[callers], rembg.rates[callers], strict=True)
            )
            cells += [
                f"{statistics.median(rival.rates[callers]):.2f}",
                f"{ratio:.2f}",
                f"{statistics.median(rival.p50_s.get(callers, [float('nan')])):.2f}",
            ]
        print(f"| {rival.name} | {' | '.join(cells)} | {rival.peak_bytes / 1e9:.2f} GB |")
    outside = sum(seconds for stage, seconds in stages.items() if stage not in {"queue", "inference"})
    print(f"\nWhere a photo's time goes ({rivals[0].name}, {counts[0]} callers), ms:\n")
    print("| " + " | ".join(stages) + " | outside the model |")
    print("|" + "---|" * (len(stages) + 1))
    print("| " + " | ".join(f"{seconds * 1e3:.1f}" for seconds in stages.values()) + f" | {outside * 1e3:.1f} |")


if __name__ == "__main__":
    asyncio.run(main())
