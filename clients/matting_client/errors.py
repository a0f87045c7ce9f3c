# SPDX-License-Identifier: Apache-2.0
"""One exception class a reason of the public contract."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import grpc

from matting_client.transport.receipt import Receipt


@dataclass(frozen=True, slots=True)
class ErrorDetails:
    """What a failed call told for machines.

    `retry_after_s` is the server's RetryInfo, None where it gave none. `unanswered_item_ids` are
    the items of a broken stream that no answer came for.
    """

    field_path: str = ""
    retry_after_s: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    receipt: Receipt | None = None
    unanswered_item_ids: tuple[str, ...] = ()


class MattingError(Exception):
    """Base of everything a call can fail with.

    `reason` names the class in the contract, `code` is the gRPC status code, `message` the
    server's own words.
    """

    reason: ClassVar[str] = ""

    def __init__(self, message: str, *, code: grpc.StatusCode, details: ErrorDetails | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.details = details or ErrorDetails()

    @property
    def retry_after_s(self) -> float | None:
        """Seconds after which the server says that trying again can help, or None."""
        return self.details.retry_after_s

    @property
    def request_id(self) -> str:
        """The call's `x-request-id`: what to name when asking an operator."""
        return self.details.request_id

    @property
    def receipt(self) -> Receipt | None:
        """What became of the image, where the server said so."""
        return self.details.receipt


class ImageUnreadableError(MattingError):
    """The bytes are no image, or a damaged one."""

    reason = "IMAGE_UNREADABLE"


class ImageFormatUnsupportedError(MattingError):
    """An image, but of a format or kind that the server does not accept."""

    reason = "IMAGE_FORMAT_UNSUPPORTED"


class ImageTooLargeError(MattingError):
    """Over one of the server's limits on bytes, pixels, sides, frames or metadata."""

    reason = "IMAGE_TOO_LARGE"


class OptionInvalidError(MattingError):
    """A field of the request has a value outside its range, or is missing."""

    reason = "OPTION_INVALID"


class TensorInvalidError(MattingError):
    """A tensor's name, datatype, shape or length is not what the model takes."""

    reason = "TENSOR_INVALID"


class OptionUnsupportedError(MattingError):
    """A known option that this server does not serve."""

    reason = "OPTION_UNSUPPORTED"


class ModelNotFoundError(MattingError):
    """The server has no such model or version."""

    reason = "MODEL_NOT_FOUND"


class OverloadedError(MattingError):
    """More work than the server can do in time; `retry_after_s` says when to come back."""

    reason = "OVERLOADED"


class QuotaExceededError(MattingError):
    """The caller's own allowance is used up."""

    reason = "QUOTA_EXCEEDED"


class DeadlineUnreachableError(MattingError):
    """Refused at arrival: even without waiting the deadline could not be met."""

    reason = "DEADLINE_UNREACHABLE"


class DeadlineExpiredError(MattingError):
    """The deadline passed, or became hopeless, while the call was in progress."""

    reason = "DEADLINE_EXPIRED"


class NoAnswerInTimeError(DeadlineExpiredError):
    """The deadline passed and the server had not said anything: this client's own clock ended the call."""


class ResidencyExceededError(MattingError):
    """The server held the image for as long as it may hold any."""

    reason = "RESIDENCY_EXCEEDED"


class BackendUnavailableError(MattingError):
    """The server has no backend that can serve the model now."""

    reason = "BACKEND_UNAVAILABLE"


class DrainingError(MattingError):
    """The server finishes what it accepted and takes nothing new."""

    reason = "DRAINING"


class CredentialsMissingError(MattingError):
    """The server wants to know who calls: give a token or a client certificate."""

    reason = "CREDENTIALS_MISSING"


class CredentialsInvalidError(MattingError):
    """The token or the certificate is of nobody the server knows."""

    reason = "CREDENTIALS_INVALID"


class PermissionDeniedError(MattingError):
    """The caller is known and may not do this."""

    reason = "PERMISSION_DENIED"


class InternalError(MattingError):
    """The server's or a backend's own fault, never the caller's."""

    reason = "INTERNAL"


# --- what has no reason in the contract ---------------------------------------------------


class ServerUnreachableError(MattingError):
    """No server answered at the address: nothing listens there, the name is unknown, or TLS failed."""


class MessageTooLargeError(MattingError):
    """The request or the answer is over the transport's limit on one message."""


class CallCancelledError(MattingError):
    """The call, or the item of a stream, was given up."""


class UnexpectedStatusError(MattingError):
    """A status that the contract does not name: a proxy, another service, or a newer server."""
