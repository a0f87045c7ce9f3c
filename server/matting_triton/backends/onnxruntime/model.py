# SPDX-License-Identifier: Apache-2.0
"""A Python-based Triton backend named `onnxruntime`.

Serves an ONNX file under the same `config.pbtxt` as Triton's native onnxruntime backend does
(https://github.com/triton-inference-server/onnxruntime_backend), for machines that have no native one. Requests that
Triton merged into one execution run as one batch; one that cannot be joined with the others runs alone, and one that
fails, fails alone.

Two requests with a parameter `matting_control` are answered without running the model (the native backend does not
know the parameter and runs it, which is harmless):

- `describe`: the first output begins with a JSON object that says what really serves the model (`engine`, `device`,
  `precision`, `threads`, `version`), followed by zero bytes.
- `scrub`: all outputs are zero, and what the engine keeps of earlier requests is given back.

Nothing of a request is left in Triton's shared-memory pool, unless MATTING_SCRUB is 0 in the environment: inputs and
joined batches are overwritten as soon as the model has run, answers when the next request comes (a scrub, where no
other does), for by then Triton has read them. Tensors that DLPack does not know, booleans and strings, are left out.
"""

import ctypes
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import triton_python_backend_utils as pb_utils
from engine_contract import Arrays
from onnx_engines import load_engine
from onnx_settings import SettingsError, Tensor, read_settings

CONTROL_PARAMETER = "matting_control"
# How a local Triton of this project begins the names of its shared-memory pools.
OWN_SEGMENTS = "matting_triton_"


class _Job(NamedTuple):
    """A request with its inputs, which are views of Triton's shared-memory pool."""

    position: int
    request: Any
    feeds: Arrays

    @property
    def signature(self) -> tuple[Any, ...]:
        """What must be equal to run together: names, types and all dimensions but the first."""
        return tuple((name, array.dtype.str, array.shape[1:]) for name, array in sorted(self.feeds.items()))


class TritonPythonModel:
    """One instance of one model, in a process of its own; called by Triton from one thread."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model; an exception here is the reason Triton gives for not serving it."""
        _unlink_own_segment()
        self._settings = read_settings(args["model_config"])
        self._scrubs = os.environ.get("MATTING_SCRUB", "1") != "0"
        # The tensors of the last answers, which lie in Triton's pool as long as they are held here.
        self._sent: list[Any] = []
        path = Path(args["model_repository"], args["model_version"], self._settings.model_file)
        if not path.is_file():
            raise SettingsError(f"there is no file {path.name} in version {args['model_version']}")
        on_gpu = args["model_instance_kind"] == "GPU"
        self._engine = load_engine(path, self._settings, on_gpu=on_gpu, device_id=int(args["model_instance_device_id"]))
        _check_names("input", self._settings.inputs, self._engine.input_names)
        _check_names("output", self._settings.outputs, self._engine.output_names)
        self._served = json.dumps(asdict(self._engine.served))
        pb_utils.Logger.log_info(f"{args['model_name']} version {args['model_version']} served by {self._served}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request, in order."""
        self._overwrite_sent()
        answers: dict[int, Any] = {}
        jobs: list[_Job] = []
        for index, request in enumerate(requests):
            job = _Job(index, request, {tensor.name(): _view(tensor) for tensor in request.inputs()})
            if control := _control(request):
                answers[index] = self._obey(control, job)
            else:
                jobs.append(job)
        for batch in self._batches(jobs):
            answers |= self._run(batch)
        self._sent = [t for answer in answers.values() for t in answer.output_tensors()] if self._scrubs else []
        return [answers[index] for index in range(len(requests))]

    def _overwrite_sent(self) -> None:
        """Overwrite the answers sent last, in Triton's pool and in the engine's memory, and let go of them."""
        while self._sent:
            tensor = self._sent.pop()
            _overwrite(tensor.as_numpy())
            _overwrite(_view(tensor))

    def _batches(self, jobs: list[_Job]) -> list[list[_Job]]:
        """Group what can run together; Triton has seen to it that all of it is one batch at most."""
        if len(jobs) <= 1 or self._settings.max_batch_size == 0:
            return [[job] for job in jobs]
        ordered = sorted(jobs, key=lambda job: str(job.signature))
        return [list(group) for _, group in groupby(ordered, key=lambda job: job.signature)]

    def _run(self, batch: list[_Job]) -> dict[int, Any]:
        names = [tensor.name for tensor in self._settings.outputs]
        parts = [job.feeds for job in batch]
        feeds = {name: _join([part[name] for part in parts]) for name in parts[0]}
        try:
            results = self._engine.run(feeds, names)
            self._check_types(results)
        except Exception as exc:  # noqa: BLE001 -- whatever an engine raises belongs into the answer, not into Triton
            return {job.position: _failure(f"{self._engine.served.engine} failed: {exc}") for job in batch}
        finally:
            if self._scrubs:
                for array in (*feeds.values(), *(array for part in parts for array in part.values())):
                    _overwrite(array)
        answers: dict[int, Any] = {}
        start = 0
        for job in batch:
            stop = start + len(next(iter(job.feeds.values())))
            whole = len(batch) == 1
            answers[job.position] = _answer(
                job.request, {name: array if whole else array[start:stop] for name, array in results.items()}
            )
            start = stop
        return answers

    def _check_types(self, results: Arrays) -> None:
        for tensor in self._settings.outputs:
            expected = np.dtype(pb_utils.triton_string_to_numpy(tensor.data_type))
            if results[tensor.name].dtype != expected:
                raise TypeError(
                    f"output {tensor.name} is {results[tensor.name].dtype}, its configuration says {expected}"
                )

    def _obey(self, control: str, job: _Job) -> Any:
        """Answer a control request: outputs of zeros in the right shapes, with a description where one is asked for."""
        if control not in ("describe", "scrub"):
            return _failure(f"{CONTROL_PARAMETER} {control!r} is unknown; there are describe and scrub")
        if control == "scrub":
            batched = self._settings.max_batch_size > 0
            self._engine.scrub({name: array[:1] if batched else array for name, array in job.feeds.items()})
        results = {tensor.name: self._zeros(tensor, job.feeds) for tensor in self._settings.outputs}
        if control == "describe":
            text = self._served.encode()
            first = next(iter(results.values()))
            if first.nbytes < len(text):
                return _failure("the first output has no room for a description")
            first.view(np.uint8).reshape(-1)[: len(text)] = np.frombuffer(text, np.uint8)
        return _answer(job.request, results)

    def _zeros(self, tensor: Tensor, feeds: Arrays) -> npt.NDArray[Any]:
        """Make an output of zeros; dimensions that the model leaves open are those of its first input."""
        given = next(iter(feeds.values())).shape
        batched = self._settings.max_batch_size > 0
        known = (given[0], *tensor.dims) if batched else tensor.dims
        shape = [given[axis] if size < 0 and axis < len(given) else max(size, 1) for axis, size in enumerate(known)]
        return np.zeros(shape, pb_utils.triton_string_to_numpy(tensor.data_type))


def _unlink_own_segment() -> None:
    """Remove the name of the pool that this process shares with Triton: both have mapped it, nobody opens it again.

    So a kill in whatever way leaves nothing in /dev/shm. Done only under a Triton that was told our prefix; the stub's
    second argument is the name.
    """
    arguments = Path("/proc/self/cmdline").read_bytes().split(b"\0")
    if len(arguments) > 2 and (name := arguments[2].decode()).startswith(OWN_SEGMENTS):
        Path("/dev/shm", name).unlink(missing_ok=True)  # noqa: S108 -- where Linux keeps POSIX shared memory


def _control(request: Any) -> str:
    parameters = request.parameters()
    if CONTROL_PARAMETER not in parameters:  # a JSON text; nearly always there is none
        return ""
    return str(json.loads(parameters).get(CONTROL_PARAMETER, ""))


def _check_names(role: str, wanted: Sequence[Tensor], found: frozenset[str]) -> None:
    missing = [tensor.name for tensor in wanted if tensor.name not in found]
    if missing:
        raise SettingsError(f"the model has no {role} {', '.join(missing)}; it has {', '.join(sorted(found))}")


def _view(tensor: Any) -> npt.NDArray[Any]:
    """Return a tensor as a writable view of Triton's pool, so that it is not copied and can be overwritten.

    `as_numpy` copies, and `from_dlpack` gives a view that may not be written to. What DLPack does not know (strings,
    and booleans in numpy 1) is copied after all.
    """
    try:
        shared = np.from_dlpack(tensor)
    except (BufferError, RuntimeError, TypeError, pb_utils.TritonModelException):
        copied: npt.NDArray[Any] = tensor.as_numpy()
        return copied
    memory = (ctypes.c_uint8 * shared.nbytes).from_address(shared.ctypes.data)
    return np.ndarray(shared.shape, shared.dtype, buffer=memoryview(memory))


def _join(parts: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Join arrays along the batch axis; a single one is passed on without a copy."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _answer(request: Any, results: Arrays) -> Any:
    asked = request.requested_output_names()
    return pb_utils.InferenceResponse(
        [pb_utils.Tensor(name, array) for name, array in results.items() if name in asked]
    )


def _failure(message: str) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(message))


def _overwrite(array: npt.NDArray[Any]) -> None:
    if array.dtype != np.object_ and array.flags.writeable:
        array.fill(0)
