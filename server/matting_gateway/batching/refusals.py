# SPDX-License-Identifier: Apache-2.0
"""The machine's outcomes in the words of the public contract."""

from matting_gateway.batching.outcomes import Reason, Refusal
from matting_gateway.errors import (
    BackendUnavailableError,
    DeadlineExpiredError,
    DeadlineUnreachableError,
    DrainingError,
    GatewayError,
    OverloadedError,
    TensorInvalidError,
)


def refusal_error(refusal: Refusal) -> GatewayError:
    """Say a refusal in the public contract's words."""
    if refusal.reason is Reason.UNREACHABLE:
        return DeadlineUnreachableError("The model takes longer than the call's deadline allows; allow more time.")
    if refusal.reason is Reason.UNAVAILABLE:
        return BackendUnavailableError(
            "No backend serves this model at the moment; try again.", retry_after_s=refusal.retry_after_s
        )
    if refusal.reason is Reason.TOO_MANY_ROWS:
        return TensorInvalidError(f"The model takes at most {refusal.max_rows} rows at once; send fewer in a call.")
    return OverloadedError(
        "More work waits than can be done before the call's deadline; try again later or allow more time.",
        retry_after_s=refusal.retry_after_s,
    )


def drop_error(reason: Reason) -> GatewayError:
    """Say why a job that had been taken is given up."""
    if reason is Reason.DISPLACED:
        return OverloadedError(
            "Others, who asked for less than their share, needed the place; send less or try again later.",
            retry_after_s=1.0,
        )
    if reason is Reason.UNAVAILABLE:
        return BackendUnavailableError("No backend that could serve the call is left; try again.", retry_after_s=1.0)
    return DeadlineExpiredError("The call waited until its deadline could not be met; allow more time.")


def draining_error() -> DrainingError:
    """Say that nothing new is taken."""
    return DrainingError("The gateway is shutting down; send the call to another one.", retry_after_s=1.0)


def copy_of(error: GatewayError) -> GatewayError:
    """Return an error of one caller's own: raising one object in many tasks would mix their tracebacks."""
    copy = type(error)(error.message, field=error.field, retry_after_s=error.retry_after_s, metadata=error.metadata)
    copy.__cause__ = error
    return copy
