# SPDX-License-Identifier: Apache-2.0
"""Batching policies side by side in virtual time: `python tests/bench/simulator` prints the tables."""
