# SPDX-License-Identifier: Apache-2.0
"""Calls sent when they are due, and what was seen of each."""
