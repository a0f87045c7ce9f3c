# SPDX-License-Identifier: Apache-2.0
"""What the machine knows of the Tritons that serve a model. Pure; may import `latency`."""
