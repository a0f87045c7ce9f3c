# SPDX-License-Identifier: Apache-2.0
"""Tensors as values."""

from dataclasses import dataclass
from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named tensor's datatype (Open Inference Protocol name) and shape without the batch dimension; -1 is any."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, repr=False)
class Tensor:
    """A tensor with its data, in the protocol's raw encoding: C order, little-endian, BYTES length-prefixed.

    `shape` includes the batch dimension where the model batches.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Buffer
