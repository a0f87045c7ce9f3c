# SPDX-License-Identifier: Apache-2.0
"""Many photos over one call, for blocking callers; and what the asyncio one shares with it."""

import dataclasses
import queue
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import grpc
from google.protobuf.duration_pb2 import Duration
from matting.v1 import matting_service_pb2 as pb

from matting_client.answers import Answer, read_answer
from matting_client.errors import CallCancelledError, MattingError
from matting_client.photos import OutputSpec, Photo, Priority, build_request
from matting_client.transport.failures import error_of_call, error_of_status
from matting_client.transport.receipt import Receipt, receipt_of


@dataclass(frozen=True, slots=True, repr=False)
class StreamItem:
    """One photo of a stream.

    `item_id` names it, unique among those not answered yet. `time_to_live_s` is its own deadline,
    counted from its arrival at the server; None: the server's default.
    """

    item_id: str
    photo: Photo
    outputs: Sequence[OutputSpec] = ()
    model: str = ""
    version: str = ""
    priority: Priority = "normal"
    time_to_live_s: float | None = None

    def __repr__(self) -> str:
        return f"<StreamItem {self.item_id!r}>"


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """The outcome of one item: exactly one of `answer` and `error` is set."""

    item_id: str
    answer: Answer | None
    error: MattingError | None

    def unwrap(self) -> Answer:
        """Return the answer, or raise the error."""
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise ValueError(f"item {self.item_id!r} has neither an answer nor an error")
        return self.answer


class Ledger:
    """Which items of a stream are unanswered.

    Owns the set of unanswered ids: never more than `max_in_flight`, each once.
    """

    def __init__(self, max_in_flight: int, request_id: str) -> None:
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight is {max_in_flight}: at least 1")
        self._max_in_flight = max_in_flight
        self._request_id = request_id
        self._unanswered: dict[str, None] = {}

    @property
    def unanswered_item_ids(self) -> tuple[str, ...]:
        return tuple(self._unanswered)

    @property
    def full(self) -> bool:
        return len(self._unanswered) >= self._max_in_flight

    def open(self, item_id: str) -> None:
        """Enter an item.

        Raises:
            ValueError: The id is empty, or that of an unanswered item.
        """
        if not item_id or item_id in self._unanswered:
            raise ValueError(f"item_id {item_id!r}: one that is not empty, nor of an item still unanswered")
        self._unanswered[item_id] = None

    def close(self, message: pb.StreamRemoveBackgroundResponse) -> StreamAnswer:
        """Strike an item off and read its answer."""
        self._unanswered.pop(message.item_id, None)
        if message.WhichOneof("result") == "error":
            error = error_of_status(message.error, request_id=self._request_id)
            return StreamAnswer(message.item_id, None, error)
        return StreamAnswer(message.item_id, read_answer(message.response, request_id=self._request_id), None)

    def broken(self, call: Any) -> MattingError:  # grpc's two kinds of call share no type
        """Read why the stream ended, naming the items that no answer will come for."""
        error = error_of_call(call, request_id=self._request_id)
        error.details = dataclasses.replace(error.details, unanswered_item_ids=self.unanswered_item_ids)
        return error

    def ended_early(self) -> MattingError:
        """Return the error of a stream that the server closed with items unanswered."""
        names = ", ".join(self._unanswered) or "items not sent yet"
        error = CallCancelledError(
            f"the server ended the stream without an answer for: {names}", code=grpc.StatusCode.CANCELLED
        )
        error.details = dataclasses.replace(
            error.details, request_id=self._request_id, unanswered_item_ids=self.unanswered_item_ids
        )
        return error


def item_message(item: StreamItem) -> pb.StreamRemoveBackgroundRequest:
    """Write the message that starts an item; a path is read here.

    Raises:
        OSError: The file cannot be read.
    """
    request = build_request(item.photo, item.outputs, model=item.model, version=item.version, priority=item.priority)
    message = pb.StreamRemoveBackgroundRequest(item_id=item.item_id, request=request)
    if item.time_to_live_s is not None:
        message.time_to_live.CopyFrom(_duration(item.time_to_live_s))
    return message


def cancel_message(item_id: str) -> pb.StreamRemoveBackgroundRequest:
    """Write the message that gives up on an item."""
    return pb.StreamRemoveBackgroundRequest(item_id=item_id, cancel=pb.CancelItem())


class Stream(Iterator[StreamAnswer]):
    """The answers of a stream, as they come; also a context manager that cancels what is left.

    Owns the call and the ledger. Used by one thread, but `cancel` may be called from any.
    A stream that breaks raises the `MattingError` of its status, whose
    `details.unanswered_item_ids` names the items that no answer came for.
    """

    def __init__(
        self,
        start: Callable[[Iterator[pb.StreamRemoveBackgroundRequest]], Any],
        items: Iterable[StreamItem],
        max_in_flight: int,
        request_id: str,
    ) -> None:
        self.request_id = request_id
        self._ledger = Ledger(max_in_flight, request_id)
        self._items = iter(items)
        self._exhausted = False
        self._ended = False
        # None ends the stream of requests.
        self._outgoing: queue.SimpleQueue[pb.StreamRemoveBackgroundRequest | None] = queue.SimpleQueue()
        self._call = start(iter(self._outgoing.get, None))
        self._send_while_room()

    def __repr__(self) -> str:
        return f"<Stream {self.request_id}: {len(self._ledger.unanswered_item_ids)} unanswered>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamAnswer:
        self._send_while_room()
        try:
            message = next(self._call)
        except StopIteration:
            if not self._ended:
                self.close()
                raise self._ledger.ended_early() from None
            raise
        except grpc.RpcError as failure:
            self.close()
            raise self._ledger.broken(failure) from failure
        return self._ledger.close(message)

    @property
    def receipt(self) -> Receipt | None:
        """What became of the images, known once the stream has ended."""
        return receipt_of(self._call.trailing_metadata()) if self._call.done() else None

    def cancel(self, item_id: str) -> None:
        """Give up on an item: it answers with `CallCancelledError`, unless its answer is under way already."""
        if item_id in self._ledger.unanswered_item_ids:
            self._outgoing.put(cancel_message(item_id))

    def close(self) -> None:
        """Cancel the call; a no-op where it has ended."""
        self._end_of_requests()
        self._call.cancel()

    def _send_while_room(self) -> None:
        try:
            while not self._exhausted and not self._ledger.full:
                item = next(self._items, None)
                if item is None:
                    self._exhausted = True
                else:
                    message = item_message(item)
                    self._ledger.open(item.item_id)
                    self._outgoing.put(message)
        except BaseException:  # an item that cannot be sent must not leave the call open
            self.close()
            raise
        # Only then: an item can be cancelled for as long as it is unanswered.
        if self._exhausted and not self._ledger.unanswered_item_ids:
            self._end_of_requests()

    def _end_of_requests(self) -> None:
        if not self._ended:
            self._ended = True
            self._outgoing.put(None)


def _duration(seconds: float) -> Duration:
    whole = int(seconds)
    return Duration(seconds=whole, nanos=round((seconds - whole) * 1e9))
