# SPDX-License-Identifier: Apache-2.0
"""A local Triton from its package, for people without one."""
