# SPDX-License-Identifier: Apache-2.0
"""onnxruntime tells nobody what it runs."""

import subprocess
import sys

import pytest


@pytest.mark.slow
@pytest.mark.parametrize("module", ["trials.engines", "graph.saving"])
def test_whoever_uses_onnxruntime_has_told_it_to_be_quiet_first(module: str) -> None:
    program = f"import os, sys, matting_models.{module}; print('onnxruntime' in sys.modules, dict(os.environ))"
    answer = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("True ")
    assert "'ORT_DISABLE_TELEMETRY': '1'" in answer.stdout
