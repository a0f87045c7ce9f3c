# SPDX-License-Identifier: Apache-2.0
"""Runs a model file in this process, through onnxruntime or OpenVINO: for verifying and measuring, not for serving."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import openvino

from matting_models.errors import EngineError
from matting_models.quiet_onnxruntime import onnxruntime

Pixels: TypeAlias = npt.NDArray[np.uint8]


class Runner(Protocol):
    """Photos uint8 [N, H, W, 3] in, alphas uint8 [N, H, W] out."""

    @property
    def name(self) -> str: ...

    @property
    def precision(self) -> str: ...

    def run(self, images: Pixels) -> Pixels: ...


class OnnxRuntimeRunner:
    """An entry through onnxruntime on the CPU, f32."""

    name = "onnxruntime f32"
    precision = "f32"

    def __init__(self, path: Path) -> None:
        self._session = ort_session(path)

    def run(self, images: Pixels) -> Pixels:
        try:
            (alpha,) = self._session.run(None, {"image": images})
        except _ort_errors() as exc:
            raise EngineError(f"onnxruntime failed on a batch of {len(images)}: {exc}") from exc
        return np.asarray(alpha, np.uint8)


class OpenVinoRunner:
    """An entry through OpenVINO on the CPU, with OpenVINO's own properties."""

    def __init__(self, model: Path | bytes, properties: Mapping[str, str] | None = None) -> None:
        core = openvino.Core()
        try:
            self.compiled = core.compile_model(core.read_model(model), "CPU", dict(properties or {}))
        except RuntimeError as exc:
            what = model if isinstance(model, Path) else "the model"
            raise EngineError(f"OpenVINO refuses {what} with {dict(properties or {})}: {exc}") from exc
        self._request = self.compiled.create_infer_request()
        self.precision = str(self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())

    @property
    def name(self) -> str:
        return f"openvino {self.precision}"

    def run(self, images: Pixels) -> Pixels:
        try:
            self._request.infer({0: images})
        except RuntimeError as exc:
            raise EngineError(f"OpenVINO failed on a batch of {len(images)}: {exc}") from exc
        return np.array(self._request.get_output_tensor(0).data, np.uint8)


def ort_session(
    model: Path | bytes, *, options: onnxruntime.SessionOptions | None = None
) -> onnxruntime.InferenceSession:
    """A quiet onnxruntime session on the CPU, of a file or of a model's bytes.

    Raises:
        EngineError: onnxruntime refuses the model.
    """
    options = options or onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        source = str(model) if isinstance(model, Path) else model
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except _ort_errors() as exc:
        what = model if isinstance(model, Path) else "the model"
        raise EngineError(f"onnxruntime refuses {what}: {exc}") from exc


def _ort_errors() -> tuple[type[Exception], ...]:
    """The exceptions of onnxruntime, which share no base but Exception."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return (RuntimeError, *(getattr(state, name) for name in names), state.RuntimeException)
