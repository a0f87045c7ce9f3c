# SPDX-License-Identifier: Apache-2.0
"""Models run here: to verify them and to measure.

May import `recipes` and `sources`.
"""
