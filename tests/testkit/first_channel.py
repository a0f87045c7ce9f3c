# SPDX-License-Identifier: Apache-2.0
"""A matting model without work, as an ONNX file: its alpha is the first channel, so that answers are the photo."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

NAME = "first-channel"
SIDE_PX = 320
CONFIG = f"""
backend: "onnxruntime"
max_batch_size: 16
input [ {{ name: "image" data_type: TYPE_UINT8 dims: [ {SIDE_PX}, {SIDE_PX}, 3 ] }} ]
output [ {{ name: "alpha" data_type: TYPE_UINT8 dims: [ {SIDE_PX}, {SIDE_PX} ] }} ]
instance_group [ {{ count: 1 kind: KIND_CPU }} ]
parameters {{ key: "matting_fit" value: {{ string_value: "stretch" }} }}
"""


def write_first_channel(repository: Path) -> Path:
    """Write the model into a repository, to be served by the same backend as real models; return the repository."""
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE_PX, SIDE_PX, 3])
    alpha = helper.make_tensor_value_info("alpha", TensorProto.UINT8, ["n", SIDE_PX, SIDE_PX])
    first = helper.make_tensor("first", TensorProto.INT64, [], [0])
    node = helper.make_node("Gather", ["image", "first"], ["alpha"], axis=3)
    graph = helper.make_graph([node], NAME, [image], [alpha], [first])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = repository / NAME / "1"
    folder.mkdir(parents=True)
    onnx.save(model, folder / "model.onnx")
    (repository / NAME / "config.pbtxt").write_text(CONFIG)
    return repository
