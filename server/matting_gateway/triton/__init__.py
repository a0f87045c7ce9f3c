# SPDX-License-Identifier: Apache-2.0
"""The Tritons behind the gateway: which there are, what they serve, and how a batch gets there and back."""
