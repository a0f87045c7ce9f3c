# SPDX-License-Identifier: Apache-2.0
"""Answers with the first channel, a third of a second later."""

import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        answers = []
        for request in requests:
            time.sleep(0.3)
            image = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
            answers.append(
                pb_utils.InferenceResponse([pb_utils.Tensor("alpha", np.ascontiguousarray(image[:, :, :, 0]))])
            )
        return answers
