# SPDX-License-Identifier: Apache-2.0
"""Memory that the gateway and a Triton on the same host both see."""
