# SPDX-License-Identifier: Apache-2.0
"""Answers left + right and left - right."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        left = pb_utils.get_input_tensor_by_name(request, "left").as_numpy()
        right = pb_utils.get_input_tensor_by_name(request, "right").as_numpy()
        return pb_utils.InferenceResponse(
            [pb_utils.Tensor("sum", left + right), pb_utils.Tensor("difference", left - right)]
        )
