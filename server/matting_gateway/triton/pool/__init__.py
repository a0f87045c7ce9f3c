# SPDX-License-Identifier: Apache-2.0
"""All Tritons as one: who is there, who serves what.

May import all other rooms of `triton`.
"""
