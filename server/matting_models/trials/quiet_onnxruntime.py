# SPDX-License-Identifier: Apache-2.0
"""onnxruntime, imported with its telemetry switched off: it neither reports sessions nor keeps a database for that."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
