# SPDX-License-Identifier: Apache-2.0
"""The backends: what they serve, how they are, and batches sent to them."""
