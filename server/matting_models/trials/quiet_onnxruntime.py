# SPDX-License-Identifier: Apache-2.0
"""onnxruntime, told before its first use not to tell its maker of sessions, and to keep no database for that."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime

__all__ = ["onnxruntime"]
