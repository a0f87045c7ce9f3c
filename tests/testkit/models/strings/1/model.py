# SPDX-License-Identifier: Apache-2.0
"""Answers the strings it was given."""

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [pb_utils.Tensor("echo", pb_utils.get_input_tensor_by_name(request, "text").as_numpy())]
            )
            for request in requests
        ]
