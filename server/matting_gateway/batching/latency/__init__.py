# SPDX-License-Identifier: Apache-2.0
"""How long batches take, learned from those that were computed. Pure."""
