# SPDX-License-Identifier: Apache-2.0
"""What waits for a model, and which of it goes next. Pure; may import `endpoints` and `latency`."""
