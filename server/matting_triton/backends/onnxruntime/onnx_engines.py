# SPDX-License-Identifier: Apache-2.0
"""Chooses the engine that runs a model here: OpenVINO, or onnxruntime with whatever providers it has.

Both take a dict of arrays by input name and give fresh arrays by output name: no array of theirs is shared with the
engine afterwards, so that the engine's own buffers can be overwritten at once.
"""

import functools
from pathlib import Path

from engine_contract import Engine
from fixed_batches import FixedBatches, batch_sizes
from onnx_settings import Settings, SettingsError
from onnxruntime_engine import OnnxRuntimeEngine, choose_providers
from openvino_engine import OpenVinoEngine


def load_engine(path: Path, settings: Settings, *, on_gpu: bool, device_id: int) -> Engine:
    """Load the model file with the engine that its configuration asks for.

    Raises:
        SettingsError: An accelerator that is unknown, not there, or refuses its parameters. There is no silent
            fallback: a GPU asked for and not used would only be noticed by the bill.
    """
    wanted = [accelerator for accelerator in settings.accelerators if accelerator.on_gpu == on_gpu]
    if not on_gpu and wanted:
        if [accelerator.name for accelerator in wanted] != ["openvino"]:
            names = ", ".join(accelerator.name for accelerator in wanted)
            raise SettingsError(f"CPU accelerator {names} is not served here; there is openvino, or none at all")
        return OpenVinoEngine(path, settings, wanted[0])
    providers = choose_providers(wanted, on_gpu=on_gpu, device_id=device_id)
    make = functools.partial(OnnxRuntimeEngine, path, settings, providers)
    if providers[0][0] == "CUDAExecutionProvider" and settings.max_batch_size > 1:
        return FixedBatches({size: make() for size in batch_sizes(settings.max_batch_size)})
    return make()
