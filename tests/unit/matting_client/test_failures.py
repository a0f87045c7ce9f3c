# SPDX-License-Identifier: Apache-2.0
"""A failed call becomes the exception of its reason."""

import grpc
import pytest
from google.rpc import status_pb2
from matting_client.errors import (
    CallCancelledError,
    DeadlineExpiredError,
    MattingError,
    MessageTooLargeError,
    NoAnswerInTimeError,
    ServerUnreachableError,
    UnexpectedStatusError,
)
from matting_client.transport.failures import BY_REASON, error_of_status
from testkit.fake_gateway import Failure


@pytest.mark.parametrize("reason", sorted(BY_REASON))
def test_each_reason_has_its_class(reason: str) -> None:
    error = error_of_status(Failure(reason, grpc.StatusCode.INTERNAL, "why").status())
    assert type(error) is BY_REASON[reason]
    assert (error.reason, error.message, error.code) == (reason, "why", grpc.StatusCode.INTERNAL)


@pytest.mark.parametrize(
    ("code", "error_class"),
    [
        (grpc.StatusCode.UNAVAILABLE, ServerUnreachableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, NoAnswerInTimeError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, MessageTooLargeError),
        (grpc.StatusCode.CANCELLED, CallCancelledError),
        (grpc.StatusCode.UNIMPLEMENTED, UnexpectedStatusError),
    ],
)
def test_a_bare_code_has_a_class_too(code: grpc.StatusCode, error_class: type[MattingError]) -> None:
    assert type(error_of_status(status_pb2.Status(code=code.value[0]))) is error_class


def test_a_silent_server_counts_as_an_expired_deadline() -> None:
    assert issubclass(NoAnswerInTimeError, DeadlineExpiredError)


def test_a_reason_of_another_domain_is_not_ours() -> None:
    foreign = Failure("OVERLOADED", grpc.StatusCode.UNIMPLEMENTED, domain="elsewhere")
    assert type(error_of_status(foreign.status())) is UnexpectedStatusError


def test_a_code_newer_than_this_client_is_unknown() -> None:
    assert error_of_status(status_pb2.Status(code=99)).code is grpc.StatusCode.UNKNOWN


def test_retry_info_and_field_are_read() -> None:
    failure = Failure("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1.5, field_path="outputs[0]")
    error = error_of_status(failure.status())
    assert (error.retry_after_s, error.details.field_path) == (1.5, "outputs[0]")
