# SPDX-License-Identifier: Apache-2.0
"""What waits for an imaging worker, and the workers as the gateway sees them.

Handles descriptors and counts; no pixel is touched here.
"""
