# SPDX-License-Identifier: Apache-2.0
"""OpenVINO as an engine of the backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from engine_contract import Arrays, Served
from even_batches import is_made_even, needs_even_batches, with_last_row_twice
from onnx_settings import AUTO, Accelerator, Settings, SettingsError


class OpenVinoEngine:
    """OpenVINO on the CPU; the accelerator's parameters are OpenVINO's own properties.

    With PERFORMANCE_HINT THROUGHPUT the images of a batch are computed side by side, each by itself, in as many
    streams as OpenVINO thinks right or NUM_STREAMS says. All shapes are fixed then, which lets OpenVINO fuse more, and
    an answer cannot depend on its batch.
    """

    def __init__(self, path: Path, settings: Settings, accelerator: Accelerator) -> None:
        import openvino  # noqa: PLC0415 -- only the engine that is used costs its memory

        self._openvino = openvino
        core = openvino.Core()
        properties = {"PERFORMANCE_HINT": "LATENCY"}
        if settings.intra_op_threads != AUTO:
            properties["INFERENCE_NUM_THREADS"] = str(settings.intra_op_threads)
        properties |= accelerator.parameters
        try:
            graph = core.read_model(path)
            any_batch = _takes_any_batch(graph)
            self._side_by_side = any_batch and properties["PERFORMANCE_HINT"] == "THROUGHPUT"
            if self._side_by_side:
                graph.reshape({port: [1, *list(port.get_partial_shape())[1:]] for port in graph.inputs})
            self._compiled = core.compile_model(graph, "CPU", properties)
        except RuntimeError as exc:
            raise SettingsError(f"OpenVINO refuses the model or its properties {properties}: {exc}") from exc
        self._request: Any = None
        self._queue: Any = None
        self._make_requests()
        self.input_names = frozenset(name for port in self._compiled.inputs for name in port.get_names())
        self.output_names = frozenset(name for port in self._compiled.outputs for name in port.get_names())
        quantised = any(operation.get_type_name() == "FakeQuantize" for operation in graph.get_ops())
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        self.served = Served(
            engine="openvino",
            device="+".join(self._compiled.get_property("EXECUTION_DEVICES")),
            precision="int8" if quantised else hint,
            threads=int(self._compiled.get_property("INFERENCE_NUM_THREADS")),
            version=openvino.__version__.split("-", 1)[0],
        )
        self._keeps_even = needs_even_batches(takes_any_batch=any_batch, precision=hint, is_quantised=quantised)

    def run(self, feeds: Arrays, names: Sequence[str]) -> Arrays:
        row_count = min((array.shape[0] for array in feeds.values() if array.ndim), default=1)
        if self._side_by_side:
            return self._run_rows(feeds, names, row_count)
        padded = self._keeps_even and is_made_even(row_count)
        if padded:
            feeds = {name: with_last_row_twice(array) for name, array in feeds.items()}
        self._request.infer(self._tensors(feeds))
        results: Arrays = {}
        for name in names:
            buffer = self._request.get_tensor(name).data
            results[name] = buffer[:row_count].copy() if padded else buffer.copy()
            buffer.fill(0)
        if padded:
            for array in feeds.values():
                array.fill(0)
        return results

    def _run_rows(self, feeds: Arrays, names: Sequence[str], row_count: int) -> Arrays:
        rows: list[Arrays] = [{} for _ in range(row_count)]

        def keep(request: Any, row: int) -> None:
            for name in names:
                buffer = request.get_tensor(name).data
                rows[row][name] = buffer.copy()
                buffer.fill(0)

        self._queue.set_callback(keep)
        try:
            for row in range(row_count):
                self._queue.start_async(
                    self._tensors({name: array[row : row + 1] for name, array in feeds.items()}), row
                )
        finally:
            self._queue.wait_all()
        return {name: np.concatenate([row[name] for row in rows]) for name in names}

    def scrub(self, feeds: Arrays) -> None:
        del feeds
        # A request keeps its tensors, the compiled model the memory of its layers; the next run asks for new ones.
        self._request = self._queue = None
        self._compiled.release_memory()
        self._make_requests()

    def _make_requests(self) -> None:
        if self._side_by_side:
            self._queue = self._openvino.AsyncInferQueue(self._compiled)
        else:
            self._request = self._compiled.create_infer_request()

    def _tensors(self, feeds: Arrays) -> dict[str, Any]:
        """Wrap arrays without copying them."""
        return {name: self._openvino.Tensor(array, shared_memory=True) for name, array in feeds.items()}


def _takes_any_batch(graph: Any) -> bool:
    shapes = [port.get_partial_shape() for port in graph.inputs]
    return all(shape.rank.is_static and len(shape) > 0 and shape[0].is_dynamic for shape in shapes)
