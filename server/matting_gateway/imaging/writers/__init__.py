# SPDX-License-Identifier: Apache-2.0
"""Pixels to files. Runs in imaging workers alone."""
