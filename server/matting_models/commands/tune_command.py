# SPDX-License-Identifier: Apache-2.0
"""`models tune`: measures an entry and writes what was found into its `config.pbtxt`."""

import os
from collections.abc import Sequence

from matting_models.commands.tune import (
    ROUNDS_S,
    TUNED_PROPERTIES,
    OpenVinoMeter,
    best_setting,
    candidates,
    choose,
    tuned,
)
from matting_models.errors import ConfigBrokenError
from matting_models.repository.config import render
from matting_models.repository.config_reader import is_ours, read_config
from matting_models.repository.repository import Repository
from matting_models.sources.fetch import Say


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
    sides = config.warmup_sides_px if -1 in config.sides_px else config.sides_px
    kept = {key: value for key, value in config.accelerator.parameters.items() if key not in TUNED_PROPERTIES}
    settings = candidates(cores, sizes)
    say(f"measuring {len(settings)} settings of {name} on {cores} cores")
    chosen = choose(best_setting(settings, OpenVinoMeter(path, kept, sides), say, rounds_s))
    if write:
        repository.write_config(name, render(tuned(config, chosen.setting, cores)))
    return f"{name}: {chosen.setting}, {chosen.images_per_s:.2f} images/s"
