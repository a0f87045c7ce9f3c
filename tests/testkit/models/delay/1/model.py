# SPDX-License-Identifier: Apache-2.0
"""Waits as long as its parameters say, then answers 255 - row, so that a mixed-up row shows."""

import json
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        parameters = json.loads(args["model_config"])["parameters"]
        self.latency_s = float(parameters["latency_ms"]["string_value"]) / 1000
        self.row_latency_s = float(parameters["row_latency_ms"]["string_value"]) / 1000

    def execute(self, requests):
        started = time.monotonic()
        rows = [pb_utils.get_input_tensor_by_name(request, "row").as_numpy() for request in requests]
        row_count = sum(len(row) for row in rows)
        answers = [
            pb_utils.InferenceResponse([pb_utils.Tensor("inverted", np.subtract(255, row, dtype=np.uint8))])
            for row in rows
        ]
        latency_s = self.latency_s + self.row_latency_s * row_count
        time.sleep(max(0.0, latency_s - (time.monotonic() - started)))
        return answers
