# SPDX-License-Identifier: Apache-2.0
"""Small ONNX models with the interface of a matting model, and their entries in a Triton repository."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

_SIDE_PX = 8
_CONFIG = """backend: "onnxruntime"
max_batch_size: 8
input [ {{ name: "image" data_type: TYPE_UINT8 dims: {image} }} ]
output [ {{ name: "alpha" data_type: TYPE_UINT8 dims: {alpha} }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
{more}
"""
OPENVINO = """optimization { execution_accelerators { cpu_execution_accelerator : [
  { name: "openvino" parameters { key: "INFERENCE_PRECISION_HINT" value: "f32" } }
] } }
"""


def write_entry(
    repository: Path, name: str, *, more: str = "", any_size: bool = False, side_px: int = _SIDE_PX
) -> None:
    """Write a model whose alpha is half the red channel, rounded down, under an entry of the repository.

    Args:
        more: Added to `config.pbtxt`.
        any_size: Whether the configuration leaves height and width open; the graph itself never does.
        side_px: Height and width that the graph takes.
    """
    folder = repository / name / "1"
    folder.mkdir(parents=True)
    onnx.save(_graph(side_px), folder / "model.onnx")
    sides = [-1, -1] if any_size else [side_px, side_px]
    (folder.parent / "config.pbtxt").write_text(_CONFIG.format(image=[*sides, 3], alpha=sides, more=more))


def expected_alpha(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What the model of `write_entry` answers."""
    return image[..., 0] // 2


def _graph(side_px: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Slice", ["image", "start", "stop", "axis"], ["red"]),
        helper.make_node("Squeeze", ["red", "axis"], ["plane"]),
        helper.make_node("Cast", ["plane"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["number", "half"], ["product"]),
        helper.make_node("Floor", ["product"], ["floored"]),
        helper.make_node("Cast", ["floored"], ["alpha"], to=TensorProto.UINT8),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("start", 0), ("stop", 1), ("axis", 3))
    ]
    constants.append(helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]))
    graph = helper.make_graph(
        nodes,
        "half_of_red",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", side_px, side_px, 3])],
        [helper.make_tensor_value_info("alpha", TensorProto.UINT8, ["N", side_px, side_px])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model
