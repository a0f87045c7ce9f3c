# SPDX-License-Identifier: Apache-2.0
"""Brings matting models into a Triton model repository."""
