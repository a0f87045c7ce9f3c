# SPDX-License-Identifier: Apache-2.0
"""What is known of a model, as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from open_inference.tensors import TensorSpec


class Fit(Enum):
    """How a photo is brought to a model's input size."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    # Keeps the aspect: the shorter side becomes the model's size, both sides rounded to `multiple_px`.
    ASPECT = "aspect"


@dataclass(frozen=True, slots=True)
class ModelInput:
    """What a matting model takes: uint8 RGB [height_px, width_px, 3].

    `top_left` says where a letterboxed photo lies: in the top left corner instead of the middle.
    """

    width_px: int
    height_px: int
    fit: Fit = Fit.STRETCH
    multiple_px: int = 1
    top_left: bool = False


@dataclass(frozen=True, slots=True)
class ModelInstance:
    """How one backend serves a model: as read back from it where it tells, else as it was asked to."""

    backend: str
    device: str
    engine: str
    precision: str
    instance_count: int


@dataclass(frozen=True, slots=True)
class ModelContract:
    """What the backends say of a model.

    `max_batch_size` is Triton's: 0 where the model has no batch dimension. `matting` is set
    exactly if the model has the one interface `image` UINT8 [H, W, 3] -> `alpha` UINT8 [H, W].
    `optional_inputs` names those of `inputs` that a request may leave out. `response_cache`: its
    server is asked to keep answers for equal requests. `gpu_wanted` says that the configuration asks
    for a GPU.
    """

    name: str
    versions: tuple[str, ...]
    max_batch_size: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    parameters: Mapping[str, str]
    decoupled: bool
    stateful: bool
    matting: ModelInput | None
    instances: tuple[ModelInstance, ...]
    optional_inputs: frozenset[str] = frozenset()
    response_cache: bool = False
    gpu_wanted: bool = False
