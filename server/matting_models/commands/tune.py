# SPDX-License-Identifier: Apache-2.0
"""`models tune`: measures instances, threads and batch sizes with the engine, and writes the best into `config.pbtxt`.

Instances are measured as OpenVINO streams of one compiled model, each fed by a thread of its own, which share the
weights; Triton's instances are processes, which compute the same but each with its own copy of them.
"""

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import openvino

from matting_models.errors import ConfigBrokenError, EngineError
from matting_models.repository.config import SIDE_BY_SIDE, Accelerator, EntryConfig, render
from matting_models.repository.config_reader import is_ours, read_config
from matting_models.repository.repository import Repository
from matting_models.sources.fetch import Say

# Smaller differences are noise: among settings within it the one with the least memory is taken.
NOISE_SHARE = 0.03
TUNED_PROPERTIES = ("ENABLE_CPU_PINNING", "INFERENCE_NUM_THREADS", "NUM_STREAMS", "PERFORMANCE_HINT")
# Processes that pin their threads would all choose the same cores.
_UNPINNED = {"ENABLE_CPU_PINNING": "NO"}
# How long each setting is measured, all of them first, then the better part.
ROUNDS_S = (0.5, 2.0)
_KEPT_SHARE = 0.4


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """How an entry may be run: `instance_count` at once, each with `thread_count` threads, batches of `batch_size`.

    `side_by_side`: the images of a batch are computed each by itself, one a thread, instead of as one.
    """

    instance_count: int
    thread_count: int
    batch_size: int
    side_by_side: bool = False

    def __str__(self) -> str:
        way = ", side by side" if self.side_by_side else ""
        return f"{self.instance_count} instance(s) of {self.thread_count} thread(s), batches of {self.batch_size}{way}"


@dataclass(frozen=True, slots=True)
class Measured:
    """A setting and the images per second it made."""

    setting: Setting
    images_per_s: float


# Images per second of a setting, measured for about so many seconds.
Measure: TypeAlias = Callable[[Setting, float], float]


def tune(
    name: str,
    repository: Repository,
    max_batch_size: int,
    say: Say,
    *,
    write: bool = True,
    rounds_s: Sequence[float] = ROUNDS_S,
) -> str:
    """Tunes an entry for the machine this runs on and returns what was chosen, in words.

    Raises:
        EntryNotFoundError: there is no such entry.
        ConfigBrokenError: its configuration is broken, was written by hand, or is for another engine.
    """
    path = repository.model_path(name)
    config_path = repository.config_path(name)
    config = read_config(config_path)
    if config.engine != "openvino" or config.accelerator is None:
        raise ConfigBrokenError(f"{name} runs on {config.engine}; tune measures entries that OpenVINO runs.")
    if write and not is_ours(config_path, config):
        raise ConfigBrokenError(
            f"{config_path} says more than this program writes, which would be lost. Use --dry-run and edit it by hand."
        )
    cores = len(os.sched_getaffinity(0))
    sizes = [size for size in (1, 2, 4, 8, 16, 32, 64) if size <= max_batch_size] if config.max_batch_size else [1]
    sides = config.working_sides_px
    kept = {key: value for key, value in config.accelerator.parameters.items() if key not in TUNED_PROPERTIES}
    settings = candidates(cores, sizes)
    say(f"measuring {len(settings)} settings of {name} on {cores} cores")
    chosen = choose(best_setting(settings, OpenVinoMeter(path, kept, sides), say, rounds_s))
    if write:
        repository.write_config(name, render(tuned(config, chosen.setting, cores)))
    return f"{name}: {chosen.setting}, {chosen.images_per_s:.2f} images/s"


def candidates(core_count: int, batch_sizes: Sequence[int]) -> list[Setting]:
    """Every way to share the cores out evenly among instances and the images of a batch, with every batch size."""
    shared = [count for count in (1, 2, 4, 8, 16, 32) if count <= core_count]
    return [
        Setting(count, core_count // count, size, beside)
        for beside in (False, True)
        for count in shared
        for size in sorted(batch_sizes)
    ]


def best_setting(
    settings: Sequence[Setting], measure: Measure, say: Say, rounds_s: Sequence[float] = ROUNDS_S
) -> list[Measured]:
    """The settings that were measured longest, best first.

    All are measured briefly; the better part of them again and longer, since a short measurement is a noisy one.
    """
    remaining = list(settings)
    results: list[Measured] = []
    for seconds in rounds_s:
        results = sorted(
            (Measured(setting, measure(setting, seconds)) for setting in remaining),
            key=lambda result: -result.images_per_s,
        )
        for result in results:
            say(f"  {result.images_per_s:7.2f} images/s  {result.setting}")
        kept = max(3, round(len(results) * _KEPT_SHARE))
        remaining = [result.setting for result in results[:kept]]
    return results


def choose(results: Sequence[Measured]) -> Measured:
    """Of those as good as the best, the fewest instances, which cost memory, then the largest batch.

    A larger batch at the same speed saves the gateway and Triton work for each photo.
    """
    best = max(result.images_per_s for result in results)
    good = [result for result in results if result.images_per_s >= best * (1 - NOISE_SHARE)]
    return min(good, key=lambda result: (result.setting.instance_count, -result.setting.batch_size))


def tuned(config: EntryConfig, setting: Setting, core_count: int) -> EntryConfig:
    """The entry with a setting written into it.

    Threads are left to the backend where they are the instance's even share, so that the entry also fits a machine
    with more cores.
    """
    parameters = dict(config.accelerator.parameters) if config.accelerator else {}
    for key in TUNED_PROPERTIES:
        parameters.pop(key, None)
    if setting.side_by_side:
        parameters |= SIDE_BY_SIDE
    if setting.thread_count != max(1, core_count // setting.instance_count):
        parameters["INFERENCE_NUM_THREADS"] = str(setting.thread_count)
    if setting.instance_count > 1:
        parameters |= _UNPINNED
    batching = config.max_batch_size > 0
    largest = setting.batch_size if batching else 0
    return replace(
        config,
        max_batch_size=largest,
        instance_count=setting.instance_count,
        warmup_batch_sizes=(1, largest) if largest > 1 else (1,),
        accelerator=Accelerator("openvino", parameters=parameters),
    )


class OpenVinoMeter:
    """Measures settings of one model file. Keeps the last compiled form, since batch sizes share it.

    Full batches and single images take turns: under light load few batches are full, and a setting that leaves cores
    idle then is to show it.
    """

    def __init__(self, path: Path, properties: dict[str, str], sides_px: tuple[int, int]) -> None:
        self._core = openvino.Core()
        self._model = self._core.read_model(path)
        self._properties = properties
        self._shape = (*sides_px, 3)
        self._compiled: tuple[Setting, openvino.CompiledModel] | None = None

    def __call__(self, setting: Setting, seconds: float) -> float:
        compiled = self._compile(setting)
        rng = np.random.default_rng(0)
        batch = rng.integers(0, 256, (setting.batch_size, *self._shape), np.uint8)
        runs = [_run_of(compiled, setting) for _ in range(setting.instance_count)]
        for run in runs:
            run(batch)
        counts = [0] * len(runs)
        start = time.perf_counter()

        def work(index: int) -> None:
            while counts[index] == 0 or time.perf_counter() - start < seconds:
                for images in (batch, batch[:1]):
                    runs[index](images)
                    counts[index] += len(images)

        threads = [threading.Thread(target=work, args=(index,)) for index in range(len(runs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum(counts) / (time.perf_counter() - start)

    def _compile(self, setting: Setting) -> openvino.CompiledModel:
        form = replace(setting, batch_size=0)
        if self._compiled is None or self._compiled[0] != form:
            self._compiled = None
            properties = {**self._properties, "INFERENCE_NUM_THREADS": str(form.instance_count * form.thread_count)}
            if form.instance_count > 1:
                properties |= _UNPINNED
            model = self._model
            if form.side_by_side:
                properties |= SIDE_BY_SIDE | {"NUM_STREAMS": str(form.instance_count * form.thread_count)}
                model = model.clone()
                model.reshape([1, *self._shape])
            else:
                properties["PERFORMANCE_HINT"] = "LATENCY" if form.instance_count == 1 else "THROUGHPUT"
                properties["NUM_STREAMS"] = str(form.instance_count)
            try:
                compiled = self._core.compile_model(model, "CPU", properties)
            except RuntimeError as exc:
                raise EngineError(f"OpenVINO refuses {properties}: {exc}") from exc
            self._compiled = (form, compiled)
        return self._compiled[1]


def _run_of(compiled: openvino.CompiledModel, setting: Setting) -> Callable[[npt.NDArray[np.uint8]], None]:
    """What computes a batch once, as the backend would."""
    if not setting.side_by_side:
        request = compiled.create_infer_request()
        return lambda images: request.infer({0: images})
    queue = openvino.AsyncInferQueue(compiled, max(1, setting.thread_count))

    def run(images: npt.NDArray[np.uint8]) -> None:
        for row in range(len(images)):
            queue.start_async({0: images[row : row + 1]})
        queue.wait_all()

    return run
