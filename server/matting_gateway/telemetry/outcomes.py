# SPDX-License-Identifier: Apache-2.0
"""What `matting_images_total` calls the ways in which an image is not answered."""

import asyncio

from matting_gateway.errors import Code, GatewayError

_BY_CODE = {
    Code.DEADLINE_EXCEEDED: "dropped",
    Code.RESOURCE_EXHAUSTED: "rejected",
    Code.INVALID_ARGUMENT: "rejected",
    Code.UNIMPLEMENTED: "rejected",
    Code.NOT_FOUND: "rejected",
    Code.PERMISSION_DENIED: "rejected",
}


def outcome_of(exc: BaseException) -> str:
    """Return dropped, rejected, cancelled or error."""
    if isinstance(exc, asyncio.CancelledError):
        return "cancelled"
    return _BY_CODE.get(exc.code, "error") if isinstance(exc, GatewayError) else "error"
