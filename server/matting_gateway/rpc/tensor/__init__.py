# SPDX-License-Identifier: Apache-2.0
"""Tensors in, tensors out: inference.GRPCInferenceService.

May import `boundary`, `open_inference`, and of Tritons what a pool says.
"""
