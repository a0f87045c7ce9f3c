# SPDX-License-Identifier: Apache-2.0
"""The one tree of errors that callers can see.

A class is a reason of the public contract. It knows no transport: `code` names a canonical
status code, and `rpc.status` turns it into one. Messages are for the caller: what was wrong,
the limit, what to do; never a byte of an image.
"""

import traceback
from collections.abc import Mapping
from enum import Enum
from typing import ClassVar

# Texts quote names that callers chose; a status travels in headers, of which clients take 8 KiB.
MAX_MESSAGE_LENGTH = 1024


class Code(Enum):
    """Canonical status codes, by the names that gRPC gives them."""

    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    UNAVAILABLE = "UNAVAILABLE"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    INTERNAL = "INTERNAL"


class GatewayError(Exception):
    """Base of everything a call can fail with.

    Args:
        message: The public text; of a longer one the first and last part are kept.
        field: The request field at fault, as a path such as `outputs[0].max_side_px`.
        retry_after_s: When to try again, where trying again can help.
        metadata: Dynamic parts of the message, for machines.
    """

    reason: ClassVar[str]
    code: ClassVar[Code]
    # Whether a batch that failed so may be tried once on another backend.
    retry_elsewhere: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        if len(message) > MAX_MESSAGE_LENGTH:
            half = (MAX_MESSAGE_LENGTH - 5) // 2
            message = f"{message[:half]} ... {message[-half:]}"
        super().__init__(message)
        self.message = message
        self.field = field
        self.retry_after_s = retry_after_s
        self.metadata: Mapping[str, str] = dict(metadata or {})


class ImageUnreadableError(GatewayError):
    """The bytes are no image, or a damaged one."""

    reason = "IMAGE_UNREADABLE"
    code = Code.INVALID_ARGUMENT


class ImageFormatUnsupportedError(GatewayError):
    """An image, but of a format or kind that is not accepted."""

    reason = "IMAGE_FORMAT_UNSUPPORTED"
    code = Code.INVALID_ARGUMENT


class ImageTooLargeError(GatewayError):
    """Over a limit on bytes, pixels, sides, frames or metadata."""

    reason = "IMAGE_TOO_LARGE"
    code = Code.INVALID_ARGUMENT


class OptionInvalidError(GatewayError):
    """A field of the request has a value outside its range, or is missing."""

    reason = "OPTION_INVALID"
    code = Code.INVALID_ARGUMENT


class TensorInvalidError(GatewayError):
    """A tensor's name, datatype, shape or length is not what the model takes."""

    reason = "TENSOR_INVALID"
    code = Code.INVALID_ARGUMENT


class OptionUnsupportedError(GatewayError):
    """A known option that this server does not serve."""

    reason = "OPTION_UNSUPPORTED"
    code = Code.UNIMPLEMENTED


class ModelNotFoundError(GatewayError):
    """No such model or version."""

    reason = "MODEL_NOT_FOUND"
    code = Code.NOT_FOUND


class OverloadedError(GatewayError):
    """More work than can be done in time; `retry_after_s` says when to come back."""

    reason = "OVERLOADED"
    code = Code.RESOURCE_EXHAUSTED


class QuotaExceededError(GatewayError):
    """The tenant's own allowance is used up."""

    reason = "QUOTA_EXCEEDED"
    code = Code.RESOURCE_EXHAUSTED


class DeadlineUnreachableError(GatewayError):
    """Refused at arrival: even without waiting the deadline could not be met."""

    reason = "DEADLINE_UNREACHABLE"
    code = Code.DEADLINE_EXCEEDED


class DeadlineExpiredError(GatewayError):
    """The deadline passed, or became hopeless, while the call was in progress."""

    reason = "DEADLINE_EXPIRED"
    code = Code.DEADLINE_EXCEEDED


class ResidencyExceededError(GatewayError):
    """The image was held for as long as any image may be."""

    reason = "RESIDENCY_EXCEEDED"
    code = Code.DEADLINE_EXCEEDED


class BackendUnavailableError(GatewayError):
    """No backend can serve the model now, or the one that tried went away."""

    reason = "BACKEND_UNAVAILABLE"
    code = Code.UNAVAILABLE
    retry_elsewhere = True


class DrainingError(GatewayError):
    """The gateway finishes what it accepted and takes nothing new."""

    reason = "DRAINING"
    code = Code.UNAVAILABLE


class CredentialsMissingError(GatewayError):
    """Callers must say who they are, and this one did not."""

    reason = "CREDENTIALS_MISSING"
    code = Code.UNAUTHENTICATED


class CredentialsInvalidError(GatewayError):
    """The credentials are of nobody known."""

    reason = "CREDENTIALS_INVALID"
    code = Code.UNAUTHENTICATED


class PermissionDeniedError(GatewayError):
    """The caller is known and may not do this."""

    reason = "PERMISSION_DENIED"
    code = Code.PERMISSION_DENIED


class InternalError(GatewayError):
    """The gateway's or a backend's own fault, never the caller's."""

    reason = "INTERNAL"
    code = Code.INTERNAL


class BackendContractError(InternalError):
    """A backend answered with something else than its model's contract says."""


def without_frames(error: GatewayError) -> GatewayError:
    """Return the error with its own and its causes' tracebacks dropped, and their frames emptied.

    A traceback holds the frames it went through, and with them the request; an error that is kept
    by one of those frames would keep all of it alive until the garbage collector's next full run.
    Frames are emptied too because others keep tracebacks: grpc keeps its last abort, whose own
    traceback leads back to them. Those that still run are left as they are.
    """
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        traceback.clear_frames(link.__traceback__)
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error
