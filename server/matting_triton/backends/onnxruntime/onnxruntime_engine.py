# SPDX-License-Identifier: Apache-2.0
"""onnxruntime as an engine of the backend, on the CPU or on the providers asked for."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine_contract import Arrays, Served
from onnx_settings import Accelerator, Settings, SettingsError

# onnxruntime's providers by the native backend's name of the accelerator.
_GPU_PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}
# How Triton numbers `optimization.graph.level` (model_config.proto), by onnxruntime's names.
_GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}

Providers = Sequence[tuple[str, Mapping[str, str]]]


class OnnxRuntimeEngine:
    """A session of onnxruntime's, on the first of `providers` that can compute an operator."""

    def __init__(self, path: Path, settings: Settings, providers: Providers) -> None:
        import onnxruntime  # noqa: PLC0415 -- only the engine that is used costs its memory

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = settings.intra_op_threads
        options.inter_op_num_threads = settings.inter_op_threads
        options.enable_cpu_mem_arena = settings.use_arena
        options.enable_mem_pattern = settings.use_memory_pattern
        if settings.parallel:
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        if settings.graph_level is not None:
            level = _GRAPH_LEVELS.get(settings.graph_level, "ORT_ENABLE_ALL")
            options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
        for key, value in settings.session_entries.items():
            options.add_session_config_entry(key, value)
        missing = [name for name, _ in providers if name not in onnxruntime.get_available_providers()]
        if missing:
            raise SettingsError(
                f"{', '.join(missing)} is asked for, but this onnxruntime {onnxruntime.__version__} has only "
                f"{', '.join(onnxruntime.get_available_providers())}"
            )
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as exc:  # onnxruntime's exceptions have no base of their own
            raise SettingsError(f"onnxruntime cannot load the model: {exc}") from exc
        # onnxruntime goes on with the CPU when a provider cannot start; that must not pass unnoticed.
        unused = [name for name, _ in providers if name not in self._session.get_providers()]
        if unused:
            raise SettingsError(f"{', '.join(unused)} could not be started on this machine")
        self.input_names = frozenset(port.name for port in self._session.get_inputs())
        self.output_names = frozenset(port.name for port in self._session.get_outputs())
        self._run_options = onnxruntime.RunOptions()
        if settings.arena_shrinkage:
            self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", settings.arena_shrinkage)
        self._scrub_options = onnxruntime.RunOptions()
        if settings.use_arena:
            self._scrub_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", _arenas(providers))
        self.served = Served(
            engine="onnxruntime",
            device=self._session.get_providers()[0],
            precision=_precision(providers),
            threads=settings.intra_op_threads,
            version=onnxruntime.__version__,
        )

    def run(self, feeds: Arrays, names: Sequence[str]) -> Arrays:
        results = self._session.run(list(names), feeds, self._run_options)
        return dict(zip(names, results, strict=True))

    def scrub(self, feeds: Arrays) -> None:
        # The arena is given back at the end of a run that asks for it, and only there.
        self._session.run(None, feeds, self._scrub_options)


def choose_providers(accelerators: Sequence[Accelerator], *, on_gpu: bool, device_id: int) -> Providers:
    """Return onnxruntime's providers and their options for the accelerators asked for, the preferred one first.

    Raises:
        SettingsError: An accelerator that is unknown.
    """
    if not on_gpu:
        return [("CPUExecutionProvider", {})]
    chosen: list[tuple[str, dict[str, str]]] = []
    for accelerator in accelerators:
        provider = _GPU_PROVIDERS.get(accelerator.name)
        if provider is None:
            raise SettingsError(
                f"GPU accelerator {accelerator.name!r} is unknown; there are {', '.join(_GPU_PROVIDERS)}"
            )
        options = _provider_options(accelerator.name, accelerator.parameters)
        chosen.append((provider, {"device_id": str(device_id), **options}))
    if all(name != "CUDAExecutionProvider" for name, _ in chosen):
        chosen.append(("CUDAExecutionProvider", {"device_id": str(device_id)}))
    return [*chosen, ("CPUExecutionProvider", {})]


def _provider_options(name: str, parameters: Mapping[str, str]) -> dict[str, str]:
    """Translate the native backend's accelerator parameters to the provider's own; own names pass as they are."""
    if name != "tensorrt":
        return dict(parameters)
    translated: dict[str, str] = {}
    for key, value in parameters.items():
        match key:
            case "precision_mode":
                translated["trt_fp16_enable"] = "1" if value == "FP16" else "0"
                translated["trt_int8_enable"] = "1" if value == "INT8" else "0"
            case "max_workspace_size_bytes":
                translated["trt_max_workspace_size"] = value
            case _:
                translated[key] = value
    return translated


def _arenas(providers: Providers) -> str:
    """Name the arenas of the devices that a session has, as onnxruntime wants to be told which to give back."""
    gpus = {f"gpu:{options['device_id']}" for _, options in providers if "device_id" in options}
    return ";".join(["cpu:0", *sorted(gpus)])


def _precision(providers: Providers) -> str:
    """Return what is computed in; the CUDA provider multiplies in TF32 unless it is told not to."""
    first, options = providers[0]
    if options.get("trt_fp16_enable") in ("1", "True"):
        return "f16"
    return "tf32" if first == "CUDAExecutionProvider" and options.get("use_tf32", "1") != "0" else "f32"
