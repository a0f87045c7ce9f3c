# SPDX-License-Identifier: Apache-2.0
"""The table of errors that callers rely on: reasons, codes, details, and the client's class of each."""

from collections.abc import Iterator

import matting_client
import pytest
from google.rpc import error_details_pb2
from matting_gateway.errors import GatewayError
from matting_gateway.rpc.boundary.status import to_grpc_code, to_status, unexpected
from testkit.reasons import TABLE


def classes(base: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    for cls in base.__subclasses__():
        yield cls
        yield from classes(cls)


def test_the_tree_holds_the_table_and_nothing_else() -> None:
    assert {cls.reason: cls.code.value for cls in classes()} == TABLE


@pytest.mark.parametrize("reason", TABLE)
def test_an_error_becomes_a_status_with_everything_it_knows(reason: str) -> None:
    cls = next(c for c in classes() if c.reason == reason)
    error = cls("What was wrong.", field="a.b", retry_after_s=1.5, metadata={"limit": "3"})
    status = to_status(error)
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(info)
    assert status.details[1].Unpack(bad)
    assert status.details[2].Unpack(retry)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason, "matting-gateway", {"limit": "3"})
    assert bad.field_violations[0].field == "a.b"
    assert retry.retry_delay.ToMilliseconds() == 1500
    assert (status.code, status.message) == (to_grpc_code(error).value[0], "What was wrong.")


@pytest.mark.parametrize("reason", TABLE)
def test_the_client_has_a_class_for_each_reason(reason: str) -> None:
    name = "".join(part.capitalize() for part in reason.split("_")) + "Error"
    assert issubclass(getattr(matting_client, name), matting_client.MattingError)


def test_an_unforeseen_exception_shows_nothing_of_its_text() -> None:
    error = unexpected(ValueError("quotes content"))
    assert "quotes content" not in to_status(error).SerializeToString().decode("latin-1")
    assert isinstance(error.__cause__, ValueError)
