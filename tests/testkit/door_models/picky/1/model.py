# SPDX-License-Identifier: Apache-2.0
"""Answers its input plus the request's own parameter `add`; a batch with a row that begins with 13 fails whole."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        time.sleep(0.02)  # so that callers meet in batches
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        rows = pb_utils.get_input_tensor_by_name(request, "x").as_numpy()
        if (rows[:, 0] == 13).any():
            error = pb_utils.TritonError("13 is unlucky", pb_utils.TritonError.INVALID_ARG)
            return pb_utils.InferenceResponse(error=error)
        add = json.loads(request.parameters() or "{}").get("add", 0)
        return pb_utils.InferenceResponse([pb_utils.Tensor("y", rows + np.uint8(add))])
