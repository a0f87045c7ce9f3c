# SPDX-License-Identifier: Apache-2.0
"""Traces: which calls have one, and how their spans get to a collector."""
