# SPDX-License-Identifier: Apache-2.0
"""Answers twice the values, and which of them are positive."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        values = pb_utils.get_input_tensor_by_name(request, "values").as_numpy()
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("doubled", values * 2), pb_utils.Tensor("positive", values > 0)]
        )
