# SPDX-License-Identifier: Apache-2.0
"""Answers with the first channel, after as many milliseconds as the file `latency_ms` in its folder says."""

import time
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.pace = Path(args["model_repository"]) / "latency_ms"

    def execute(self, requests):
        time.sleep(float(self.pace.read_text()) / 1000)
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("alpha", np.ascontiguousarray(image[..., 0]))])
