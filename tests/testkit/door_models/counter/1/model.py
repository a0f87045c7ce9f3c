# SPDX-License-Identifier: Apache-2.0
"""Answers the sum of the values of its sequence so far."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.totals = {}

    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        def tensor(name):
            return int(pb_utils.get_input_tensor_by_name(request, name).as_numpy().flat[0])

        sequence = tensor("CORRID")
        total = tensor("value") + (0 if tensor("START") else self.totals.get(sequence, 0))
        self.totals[sequence] = total
        return pb_utils.InferenceResponse([pb_utils.Tensor("total", np.array([[total]], dtype=np.int32))])
