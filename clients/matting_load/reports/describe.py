# SPDX-License-Identifier: Apache-2.0
"""What a report says of where and how it was made."""

import dataclasses
import os
import platform
from collections.abc import Mapping
from typing import Any

import grpc
from matting_client.version import version_of

from matting_load.plan import Plan, Replay

# A target's secrets and local paths have no place in a report that is passed around.
_SECRET = frozenset(("token", "tls"))


def environment() -> Mapping[str, str]:
    """Name the machine and the versions that matter."""
    return {
        "host": platform.node(),
        "system": platform.platform(terse=True),
        "cpu_count": str(os.cpu_count() or 0),
        "python": platform.python_version(),
        "grpcio": grpc.__version__,
        "matting-load": version_of("matting_load"),
    }


def described_plan(plan: Plan) -> Mapping[str, Any]:
    """Return the plan as plain values, without secrets, and without the times of a trace."""
    values = dataclasses.asdict(plan)
    values["target"] = {name: value for name, value in values["target"].items() if name not in _SECRET}
    if isinstance(plan.load, Replay):
        values["load"] = {"times": len(plan.load.times_s)}
    return values
