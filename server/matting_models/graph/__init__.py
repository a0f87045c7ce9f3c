# SPDX-License-Identifier: Apache-2.0
"""Changes to ONNX graphs.

May import `recipes` and `trials`.
"""
