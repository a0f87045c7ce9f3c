# SPDX-License-Identifier: Apache-2.0
"""The engines an entry can be written for, and what `config.pbtxt` says for each."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matting_models.errors import RecipeError
from matting_models.repository.config import Accelerator
from matting_models.repository.repository import ONNX_FILE, PLAN_FILE

ENGINES = ("openvino", "onnxruntime", "cuda", "tensorrt", "tensorrt-plan")
PRECISIONS = ("auto", "f32", "tf32", "bf16", "f16")

# The precisions that each engine can be asked for. OpenVINO on a CPU refuses f16.
_POSSIBLE = {
    "openvino": ("auto", "f32", "bf16"),
    "onnxruntime": ("auto", "f32"),
    "cuda": ("auto", "f32", "tf32"),
    "tensorrt": ("auto", "f32", "f16"),
    "tensorrt-plan": ("auto", "f32", "f16"),
}
_TENSORRT_WORKSPACE_BYTES = 4 << 30
# The native backend's number for choosing kernels by heuristics.
_HEURISTIC = "1"


@dataclass(frozen=True, slots=True)
class Variant:
    """An engine and a precision."""

    engine: str = "openvino"
    precision: str = "auto"

    def __post_init__(self) -> None:
        if self.precision not in _POSSIBLE[self.engine]:
            raise RecipeError(
                f"{self.engine} is not served in {self.precision}; possible: {', '.join(_POSSIBLE[self.engine])}."
            )

    @property
    def on_gpu(self) -> bool:
        return self.engine == "cuda" or self.engine.startswith("tensorrt")

    @property
    def platform(self) -> str:
        return "tensorrt_plan" if self.engine == "tensorrt-plan" else ""

    @property
    def declared_precision(self) -> str:
        """What `matting_precision` says. `auto` is resolved where the engine's choice is always the same."""
        if self.precision != "auto" or self.engine == "openvino":
            return self.precision
        return {"onnxruntime": "f32", "cuda": "tf32"}.get(self.engine, "f16")

    @property
    def backend_parameters(self) -> dict[str, str]:
        """What the entry's own parameters say to the backend.

        Triton's native one searches kernels exhaustively unless they say otherwise, whatever the accelerator's say.
        """
        return {"cudnn_conv_algo_search": _HEURISTIC} if self.engine == "cuda" else {}

    def warmup_batch_sizes(self, max_batch_size: int) -> tuple[int, ...]:
        """What is computed before an entry counts as ready.

        With `cuda` that is every size that the local backend fills batches up to.
        """
        if self.engine != "cuda":
            return usual_batch_sizes(max_batch_size)
        largest = max(1, max_batch_size)
        return (*(1 << power for power in range((largest - 1).bit_length())), largest)

    def accelerator(self, shape: Sequence[int], batch_sizes: Sequence[int]) -> Accelerator | None:
        """The execution accelerator, with an optimisation profile from the smallest to the largest batch used.

        `shape` is one row's (height, width, 3).
        """
        if self.engine == "openvino":
            hint = {} if self.precision == "auto" else {"INFERENCE_PRECISION_HINT": self.precision}
            return Accelerator("openvino", parameters=hint)
        if self.engine == "cuda":
            # An exhaustive search for the fastest kernels would take minutes whenever the entry is loaded.
            options = {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0" if self.precision == "f32" else "1"}
            return Accelerator("cuda", on_gpu=True, parameters=options)
        if self.engine != "tensorrt":
            return None
        profile = profile_shapes(shape, batch_sizes)
        return Accelerator(
            "tensorrt",
            on_gpu=True,
            parameters={
                "max_workspace_size_bytes": str(_TENSORRT_WORKSPACE_BYTES),
                "precision_mode": "FP32" if self.precision == "f32" else "FP16",
                "trt_engine_cache_enable": "1",
                "trt_engine_cache_path": "/tmp/matting-tensorrt-cache",  # noqa: S108 -- a path of the serving machine
                "trt_profile_max_shapes": profile[2],
                "trt_profile_min_shapes": profile[0],
                "trt_profile_opt_shapes": profile[1],
            },
        )


def openvino_properties(accelerator: Accelerator | None) -> dict[str, str]:
    """The properties that the local Triton's backend gives OpenVINO for an entry's accelerator."""
    return {"PERFORMANCE_HINT": "LATENCY", **(accelerator.parameters if accelerator else {})}


def profile_shapes(shape: Sequence[int], batch_sizes: Sequence[int]) -> tuple[str, str, str]:
    """Smallest, best and largest input as TensorRT's tools write them: `image:8x320x320x3`."""
    sides = "x".join(map(str, shape))
    smallest, largest = min(batch_sizes), max(batch_sizes)
    return f"image:{smallest}x{sides}", f"image:{largest}x{sides}", f"image:{largest}x{sides}"


def trtexec_line(folder: Path, variant: Variant, shape: Sequence[int], batch_sizes: Sequence[int]) -> str:
    """The command that builds the plan of an entry from the ONNX file beside it.

    To be run on the machine, with the GPU and the TensorRT version, that will serve it.
    """
    smallest, best, largest = profile_shapes(shape, batch_sizes)
    half = "" if variant.precision == "f32" else " --fp16"
    return (
        f"trtexec --onnx={folder / ONNX_FILE} --saveEngine={folder / PLAN_FILE}{half} --inputIOFormats=uint8:chw "
        f"--outputIOFormats=uint8:chw --minShapes={smallest} --optShapes={best} --maxShapes={largest}"
    )


def usual_batch_sizes(max_batch_size: int) -> tuple[int, ...]:
    """1 and the largest. The sizes between share their kernels."""
    return (1,) if max_batch_size <= 1 else (1, max_batch_size)
