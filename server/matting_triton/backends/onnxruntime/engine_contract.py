# SPDX-License-Identifier: Apache-2.0
"""What every engine is to the backend, and what it tells of itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Served:
    """What really runs a model.

    Attributes:
        engine: `openvino` or `onnxruntime`.
        device: As the engine names it: `CPU`, `CUDAExecutionProvider`.
        precision: `f32`, `tf32`, `bf16`, `f16`; `int8` for a quantised graph.
        threads: Compute threads; 0 where the engine does not tell.
        version: Of the engine.
    """

    engine: str
    device: str
    precision: str
    threads: int
    version: str


class Engine(Protocol):
    """A model, loaded and ready to run."""

    served: Served
    input_names: frozenset[str]
    output_names: frozenset[str]

    def run(self, feeds: Arrays, names: Sequence[str]) -> Arrays:
        """Compute the outputs called `names`."""

    def scrub(self, feeds: Arrays) -> None:
        """Give back or overwrite what the engine keeps of earlier runs; `feeds` is an innocent input."""
