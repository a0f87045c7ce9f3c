# SPDX-License-Identifier: Apache-2.0
"""The blocking client."""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Self

import grpc
from matting.v1 import matting_service_pb2 as pb

from matting_client.answers import Answer, DataPolicy, Model, read_answer, read_model, read_policy
from matting_client.photos import OutputSpec, Photo, Priority, build_request
from matting_client.stream import Stream, StreamItem
from matting_client.transport.calls import (
    DEFAULT_TIMEOUT_S,
    GET_DATA_POLICY,
    LIST_MODELS,
    REMOVE_BACKGROUND,
    STREAM_REMOVE_BACKGROUND,
    Method,
    Request,
    Response,
    Settings,
    check_timeout,
    make_settings,
    new_request_id,
)
from matting_client.transport.connection import (
    DEFAULT_ADDRESS,
    MAX_MESSAGE_BYTES,
    Connection,
    Tls,
    Token,
    open_channel,
)
from matting_client.transport.failures import error_of_call
from matting_client.transport.receipt import Receipt, receipt_of
from matting_client.transport.retry import RetryPolicy, RetryStatistics


class Client:
    """A blocking client of one gateway, or of several that serve the same; safe to use from any thread.

    Owns one channel, and the retry budget that all its calls share.

    Args:
        addresses: `HOST:PORT` or `unix:PATH`. Calls go round robin over several, and over all that
            one name resolves to; one that is down or not serving is left out meanwhile.
        tls: Files for TLS; None is plaintext.
        token: A bearer token, or a function that returns the one in force. Refused where it would
            travel readable to another machine, unless `token_over_plaintext`.
        timeout_s: The deadline of a call that names none, all its attempts together; None: no
            deadline but the server's own.
        retry: When to try again; the default is up to three retries within a budget.
        max_message_bytes: The largest request and answer.

    Raises:
        ValueError: An address or an option that cannot be.
        OSError: A TLS file that cannot be read, or a name among several that cannot be resolved.
    """

    def __init__(
        self,
        *addresses: str,
        tls: Tls | None = None,
        token: Token | None = None,
        token_over_plaintext: bool = False,
        timeout_s: float | None = DEFAULT_TIMEOUT_S,
        retry: RetryPolicy | None = None,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        connection = Connection(addresses or (DEFAULT_ADDRESS,), tls, token, token_over_plaintext, max_message_bytes)
        self._settings: Settings = make_settings(connection, timeout_s, retry, clock)
        self._sleep = sleep
        self._channel = open_channel(grpc.insecure_channel, grpc.secure_channel, connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._settings.connection!r} {self._settings.budget!r}>"

    def close(self) -> None:
        """Close the channel; calls in progress fail."""
        self._channel.close()

    def statistics(self) -> RetryStatistics:
        """Return how the retry budget stands."""
        return self._settings.budget.statistics()

    def remove_background(
        self,
        photo: Photo,
        outputs: Sequence[OutputSpec] = (),
        *,
        model: str = "",
        version: str = "",
        priority: Priority = "normal",
        timeout_s: float | None = None,
        request_id: str = "",
    ) -> Answer:
        """Separate the subject of one photo from its background.

        Args:
            photo: The bytes of a file, a path to one, or `Pixels`.
            outputs: The results wanted of the one inference; none: one alpha as PNG.
            model: A model's name; empty: the server's default.
            version: A model's version; empty: the newest.
            priority: The urgency among waiting calls.
            timeout_s: The deadline of this call; None: the client's.
            request_id: The `x-request-id`; empty: one is made.

        Raises:
            MattingError: The class of the reason that the call failed for.
            OSError: The photo's file cannot be read.
        """
        request = build_request(photo, outputs, model=model, version=version, priority=priority)
        request_id = request_id or new_request_id()
        message, receipt = self._call(REMOVE_BACKGROUND, request, timeout_s, request_id)
        return read_answer(message, request_id=request_id, receipt=receipt)

    def stream(self, items: Iterable[StreamItem], *, max_in_flight: int = 8, timeout_s: float | None = None) -> Stream:
        """Send many photos over one call; iterate over the result for the answers, as they come.

        Items are taken from `items` in the caller's own thread between answers, never more than
        `max_in_flight` ahead of them. Nothing is retried: an item that failed answers with its
        error, and the stream goes on. `timeout_s` limits the whole stream; None: no limit.
        """
        check_timeout(timeout_s)
        request_id = new_request_id()
        call = self._channel.stream_stream(*STREAM_REMOVE_BACKGROUND)
        metadata = self._settings.metadata(request_id)
        return Stream(
            lambda requests: call(requests, timeout=timeout_s, metadata=metadata), items, max_in_flight, request_id
        )

    def list_models(self, *, timeout_s: float | None = None) -> tuple[Model, ...]:
        """Return all models that can be named in a request, in order of name."""
        models: list[Model] = []
        page_token = ""
        while True:
            request = pb.ListModelsRequest(page_token=page_token)
            message, _ = self._call(LIST_MODELS, request, timeout_s, new_request_id())
            models += map(read_model, message.models)
            page_token = message.next_page_token
            if not page_token:
                return tuple(models)

    def data_policy(self, *, timeout_s: float | None = None) -> DataPolicy:
        """Return what the running server does with data."""
        message, _ = self._call(GET_DATA_POLICY, pb.GetDataPolicyRequest(), timeout_s, new_request_id())
        return read_policy(message.policy)

    def _call(
        self, method: Method[Request, Response], request: Request, timeout_s: float | None, request_id: str
    ) -> tuple[Response, Receipt | None]:
        attempts = self._settings.attempts(timeout_s)
        send = self._channel.unary_unary(*method)
        metadata = self._settings.metadata(request_id, request)
        while True:
            try:
                message, call = send.with_call(request, timeout=attempts.remaining_s(), metadata=metadata)
            except grpc.RpcError as failure:
                error = error_of_call(failure, request_id=request_id)
                wait_s = attempts.wait_before_next(error)
                if wait_s is None:
                    raise error from failure
                self._sleep(wait_s)
            else:
                attempts.succeeded()
                return message, receipt_of(call.trailing_metadata())
