# SPDX-License-Identifier: Apache-2.0
"""Client of the matting gateway.

    with Client("127.0.0.1:50051") as client:
        answer = client.remove_background("cat.jpg", [OutputSpec(kind="cutout")])
        answer.output.save("cat-cutout.png")

`AsyncClient` is the same for asyncio. Failed calls raise one class a reason, all of them
`MattingError`. With the extra `[pixels]`, `matting_client.compose` makes cutouts from an alpha
and the original, so that the server need not.
"""

from matting_client.aio import AsyncClient
from matting_client.aio_stream import AsyncStream
from matting_client.answers import (
    Answer,
    Box,
    DataPolicy,
    Model,
    ModelInstance,
    Output,
    PolicyStatement,
    Subject,
    Timings,
)
from matting_client.client import Client
from matting_client.errors import (
    BackendUnavailableError,
    CallCancelledError,
    CredentialsInvalidError,
    CredentialsMissingError,
    DeadlineExpiredError,
    DeadlineUnreachableError,
    DrainingError,
    ErrorDetails,
    ImageFormatUnsupportedError,
    ImageTooLargeError,
    ImageUnreadableError,
    InternalError,
    MattingError,
    MessageTooLargeError,
    ModelNotFoundError,
    NoAnswerInTimeError,
    OptionInvalidError,
    OptionUnsupportedError,
    OverloadedError,
    PermissionDeniedError,
    QuotaExceededError,
    ResidencyExceededError,
    ServerUnreachableError,
    TensorInvalidError,
    UnexpectedStatusError,
)
from matting_client.photos import BackgroundPicture, OutputSpec, Pixels
from matting_client.stream import Stream, StreamAnswer, StreamItem
from matting_client.transport.connection import Tls
from matting_client.transport.receipt import Receipt
from matting_client.transport.retry import RetryPolicy, RetryStatistics

__all__ = [
    "Answer",
    "AsyncClient",
    "AsyncStream",
    "BackendUnavailableError",
    "BackgroundPicture",
    "Box",
    "CallCancelledError",
    "Client",
    "CredentialsInvalidError",
    "CredentialsMissingError",
    "DataPolicy",
    "DeadlineExpiredError",
    "DeadlineUnreachableError",
    "DrainingError",
    "ErrorDetails",
    "ImageFormatUnsupportedError",
    "ImageTooLargeError",
    "ImageUnreadableError",
    "InternalError",
    "MattingError",
    "MessageTooLargeError",
    "Model",
    "ModelInstance",
    "ModelNotFoundError",
    "NoAnswerInTimeError",
    "OptionInvalidError",
    "OptionUnsupportedError",
    "Output",
    "OutputSpec",
    "OverloadedError",
    "PermissionDeniedError",
    "Pixels",
    "PolicyStatement",
    "QuotaExceededError",
    "Receipt",
    "ResidencyExceededError",
    "RetryPolicy",
    "RetryStatistics",
    "ServerUnreachableError",
    "Stream",
    "StreamAnswer",
    "StreamItem",
    "Subject",
    "TensorInvalidError",
    "Timings",
    "Tls",
    "UnexpectedStatusError",
]
