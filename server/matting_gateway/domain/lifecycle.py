# SPDX-License-Identifier: Apache-2.0
"""The states that a gateway goes through."""

from enum import Enum


class Lifecycle(Enum):
    """The gateway's own state; it only ever moves down this list."""

    STARTING = "starting"
    SERVING = "serving"
    DRAINING = "draining"
    STOPPED = "stopped"
