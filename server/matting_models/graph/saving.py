# SPDX-License-Identifier: Apache-2.0
"""Checks, folds and writes an ONNX model."""

import shutil
from pathlib import Path

import onnx

from matting_models.errors import InterfaceError
from matting_models.sources.fetch import replacing
from matting_models.trials.engines import ort_session
from matting_models.trials.quiet_onnxruntime import onnxruntime

# protobuf ends at 2 GiB; beyond this the weights go into a file beside.
_LARGEST_SINGLE_FILE_BYTES = 1_800_000_000
_OWN_DOMAINS = {"", "ai.onnx"}


def save_model(model: onnx.ModelProto, target: Path) -> None:
    """Writes the model with its constants folded.

    Raises:
        InterfaceError: the graph is not valid.
        EngineError: onnxruntime refuses it.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if model.ByteSize() > _LARGEST_SINGLE_FILE_BYTES:
        data = f"{target.name}.data"
        target.with_name(data).unlink(missing_ok=True)
        onnx.save(model, target, save_as_external_data=True, location=data)
        return
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as exc:
        raise InterfaceError(f"The graph is not valid ONNX: {exc}") from exc
    onnx.save(model, target)
    fold_constants(target)


def fold_constants(path: Path) -> None:
    """Rewrites the file as onnxruntime's basic optimisation leaves it: constants folded, nothing engine-specific.

    Where that would bring in operators of onnxruntime's own, the file stays as it is.

    Raises:
        EngineError: onnxruntime refuses the model.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with replacing(path) as folded:
        # onnxruntime writes down every domain it knows; only ONNX's own are kept.
        options.optimized_model_filepath = str(folded)
        ort_session(path, options=options)
        model = onnx.load(folded)
        domains = {node.domain for node in model.graph.node}
        if domains <= _OWN_DOMAINS:
            asked = [entry for entry in model.opset_import if entry.domain in _OWN_DOMAINS]
            del model.opset_import[:]
            model.opset_import.extend(asked)
            onnx.save(model, folded)
        else:
            shutil.copyfile(path, folded)
