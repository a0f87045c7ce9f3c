# SPDX-License-Identifier: Apache-2.0
"""The default model at f32, and what rembg would make of a photo with the same weights."""

import os
import re
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).parents[2]
ORIGINAL = ROOT / ".cache" / "models" / "u2net.onnx"
SAMPLES = ROOT / ".cache" / "samples"
_MEAN = np.array([0.485, 0.456, 0.406])
_STD = np.array([0.229, 0.224, 0.225])
_F32 = 'name: "openvino" parameters { key: "INFERENCE_PRECISION_HINT" value: "f32" }'


def f32_repository(folder: Path) -> Path:
    """Make a repository in `folder` whose only entry is u2net-f32: the default model's file, computed at f32."""
    source, entry = ROOT / "model_repository" / "u2net", folder / "u2net-f32"
    (entry / "1").mkdir(parents=True)
    os.link(source / "1" / "model.onnx", entry / "1" / "model.onnx")
    config = (source / "config.pbtxt").read_text()
    config = re.sub(r"model_warmup \[.*?\n\]\n", "", config, flags=re.DOTALL)
    config = config.replace('name: "u2net"', 'name: "u2net-f32"').replace('name: "openvino"', _F32)
    (entry / "config.pbtxt").write_text(config)
    return folder


class Rembg:
    """rembg's own arithmetic (its `u2net` session and `naive` mask), written out: the reference."""

    def __init__(self) -> None:
        self._session = onnxruntime.InferenceSession(ORIGINAL, providers=["CPUExecutionProvider"])

    def mask(self, photo: Image.Image) -> NDArray[np.uint8]:
        """Return the mask uint8 [H, W] of a photo."""
        small = np.asarray(photo.convert("RGB").resize((320, 320), Image.Resampling.LANCZOS))
        scaled = small / max(float(np.max(small)), 1e-6)
        planes = ((scaled - _MEAN) / _STD).transpose(2, 0, 1)[np.newaxis].astype(np.float32)
        (found,) = self._session.run(["1959"], {"input.1": planes})
        found = found[0, 0]
        found = (found - found.min()) / (found.max() - found.min())
        mask = Image.fromarray((found * 255).astype(np.uint8))
        return np.asarray(mask.resize(photo.size, Image.Resampling.LANCZOS))
