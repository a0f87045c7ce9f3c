# SPDX-License-Identifier: Apache-2.0
"""Runs a model file in this process, through onnxruntime or OpenVINO: for verifying and measuring, not for serving."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import openvino
from matting_triton.backends.onnxruntime.even_batches import is_made_even, needs_even_batches, with_last_row_twice

from matting_models.errors import EngineError
from matting_models.trials.quiet_onnxruntime import onnxruntime

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
        except ort_errors() as exc:
            raise EngineError(f"onnxruntime failed on a batch of {len(images)}: {exc}") from exc
        return np.asarray(alpha, np.uint8)


class OpenVinoRunner:
    """An entry through OpenVINO on the CPU, with OpenVINO's own properties, as the local Triton's backend computes it.

    With PERFORMANCE_HINT THROUGHPUT each image of a batch is computed by itself, in a graph of fixed shapes; in bf16
    odd batches are made even.
    """

    def __init__(self, model: Path | bytes, properties: Mapping[str, str] | None = None) -> None:
        core = openvino.Core()
        chosen = dict(properties or {})
        try:
            graph = core.read_model(model)
            takes_any_batch = graph.inputs[0].get_partial_shape()[0].is_dynamic
            self._side_by_side = takes_any_batch and chosen.get("PERFORMANCE_HINT") == "THROUGHPUT"
            if self._side_by_side:
                graph.reshape([1, *list(graph.inputs[0].get_partial_shape())[1:]])
            self.compiled = core.compile_model(graph, "CPU", chosen)
        except RuntimeError as exc:
            what = model if isinstance(model, Path) else "the model"
            raise EngineError(f"OpenVINO refuses {what} with {chosen}: {exc}") from exc
        self._request = self.compiled.create_infer_request()
        self.precision = str(self.compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
        is_quantised = any(operation.get_type_name() == "FakeQuantize" for operation in graph.get_ops())
        self._keeps_even = needs_even_batches(
            takes_any_batch=takes_any_batch, precision=self.precision, is_quantised=is_quantised
        )

    @property
    def name(self) -> str:
        return f"openvino {self.precision}"

    def run(self, images: Pixels) -> Pixels:
        if self._side_by_side:
            return np.concatenate([self._infer(image[None]) for image in images])
        if self._keeps_even and is_made_even(len(images)):
            return self._infer(with_last_row_twice(images))[:-1]
        return self._infer(images)

    def _infer(self, images: Pixels) -> Pixels:
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
    except ort_errors() as exc:
        what = model if isinstance(model, Path) else "the model"
        raise EngineError(f"onnxruntime refuses {what}: {exc}") from exc


def ort_errors() -> tuple[type[Exception], ...]:
    """The exceptions of onnxruntime, which share no base but Exception."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")
    return (RuntimeError, *(getattr(state, name) for name in names), state.RuntimeException)
