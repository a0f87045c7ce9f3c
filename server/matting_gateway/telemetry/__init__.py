# SPDX-License-Identifier: Apache-2.0
"""What the gateway tells of itself: metrics and log lines."""
