# SPDX-License-Identifier: Apache-2.0
"""Answers the first channel of each image as its alpha."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self._answer(request) for request in requests]

    def _answer(self, request):
        image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
        return pb_utils.InferenceResponse([pb_utils.Tensor("alpha", image[..., 0].copy())])
