# SPDX-License-Identifier: Apache-2.0
"""The two engines that run a model here: OpenVINO, and onnxruntime with whatever providers it has.

Both take a dict of arrays by input name and give fresh arrays by output name: no array of theirs is shared with the
engine afterwards, so that the engine's own buffers can be overwritten at once.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from engine_contract import Arrays, Engine, Served
from onnx_settings import Accelerator, Settings, SettingsError
from openvino_engine import OpenVinoEngine

# onnxruntime's providers by the native backend's name of the accelerator.
_GPU_PROVIDERS = {"tensorrt": "TensorrtExecutionProvider", "cuda": "CUDAExecutionProvider"}
# How Triton numbers `optimization.graph.level` (model_config.proto), by onnxruntime's names.
_GRAPH_LEVELS = {-1: "ORT_ENABLE_BASIC", 1: "ORT_ENABLE_EXTENDED", 2: "ORT_DISABLE_ALL"}


def load_engine(path: Path, settings: Settings, *, on_gpu: bool, device_id: int) -> Engine:
    """Load the model file with the engine that its configuration asks for.

    Raises:
        SettingsError: An accelerator that is unknown, not there, or refuses its parameters. There is no silent
            fallback: a GPU asked for and not used would only be noticed by the bill.
    """
    wanted = [accelerator for accelerator in settings.accelerators if accelerator.on_gpu == on_gpu]
    if not on_gpu and wanted:
        if [accelerator.name for accelerator in wanted] != ["openvino"]:
            names = ", ".join(accelerator.name for accelerator in wanted)
            raise SettingsError(f"CPU accelerator {names} is not served here; there is openvino, or none at all")
        return OpenVinoEngine(path, settings, wanted[0])
    return OnnxRuntimeEngine(path, settings, _providers(wanted, on_gpu=on_gpu, device_id=device_id))


class OnnxRuntimeEngine:
    """onnxruntime, on the CPU or on the providers asked for."""

    def __init__(self, path: Path, settings: Settings, providers: list[tuple[str, dict[str, str]]]) -> None:
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
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
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
            self._scrub_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        half = any(provider.get("trt_fp16_enable") in ("1", "True") for _, provider in providers)
        self.served = Served(
            engine="onnxruntime",
            device=self._session.get_providers()[0],
            precision="f16" if half else "f32",
            threads=settings.intra_op_threads,
            version=onnxruntime.__version__,
        )

    def run(self, feeds: Arrays, names: Sequence[str]) -> Arrays:
        results = self._session.run(list(names), feeds, self._run_options)
        return dict(zip(names, results, strict=True))

    def scrub(self, feeds: Arrays) -> None:
        # The arena is given back at the end of a run that asks for it, and only there.
        self._session.run(None, feeds, self._scrub_options)


def _providers(
    accelerators: Sequence[Accelerator], *, on_gpu: bool, device_id: int
) -> list[tuple[str, dict[str, str]]]:
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
