# SPDX-License-Identifier: Apache-2.0
"""Where callers' messages become objects: counted first, so that none costs more than its limits allow."""

from typing import Any, Generic, TypeVar

from google.protobuf.message import DecodeError, Message
from open_inference.message_limits import MessageLimitError, MessageLimits, check, shape_of
from open_inference.tensors import Buffer
from open_inference.wire import MalformedMessageError

from matting_gateway.errors import GatewayError, OptionInvalidError, TensorInvalidError

# Messages whose packed lists are tensors: their values are nowhere made objects one by one.
TENSOR_CONTENTS = frozenset({"inference.InferTensorContents"})
_TENSOR_PACKAGE = "inference"
_M = TypeVar("_M", bound=Message)


class RequestParser(Generic[_M]):
    """Parses the requests of one kind.

    Args:
        kind: Their class.
        limits: What they may have.
    """

    def __init__(self, kind: type[_M], limits: MessageLimits) -> None:
        self._kind = kind
        self._limits = limits
        descriptor: Any = kind.DESCRIPTOR  # stubs call it by either of two names
        self._name = descriptor.full_name
        self._shape = shape_of(descriptor, bulk=TENSOR_CONTENTS)
        is_tensor = descriptor.file.package == _TENSOR_PACKAGE
        self._error: type[GatewayError] = TensorInvalidError if is_tensor else OptionInvalidError

    def __call__(self, data: Buffer) -> _M:
        """Return the message in `data`.

        Raises:
            OptionInvalidError, TensorInvalidError: It is none of this kind, or has more than it may.
        """
        self.check(data)
        return self.parse(data)

    def parse(self, data: Buffer) -> _M:
        """Return the message in `data`, of which what it may have has been checked.

        Raises:
            OptionInvalidError, TensorInvalidError: It is none of this kind.
        """
        try:
            return self._kind.FromString(data)  # type: ignore[arg-type]  # any buffer will do
        except DecodeError as exc:
            raise self.unreadable() from exc

    def check(self, data: Buffer) -> bool:
        """Return where a message has no more than it may, and can be followed; tell whether it has tensor contents.

        Raises:
            OptionInvalidError, TensorInvalidError: It has, or cannot.
        """
        try:
            return check(data, self._shape, self._limits)
        except MessageLimitError as exc:
            where = f"`{exc.path}` of the request" if exc.path else "The request"
            text = f"{where} has more than {exc.limit} {exc.what}; that is the most taken in one message: send fewer."
            raise self._error(text, field=exc.path or None) from exc
        except MalformedMessageError as exc:
            raise self.unreadable() from exc

    def unreadable(self) -> GatewayError:
        """Return what to tell a caller whose message protobuf cannot read."""
        return self._error(f"The request is not a {self._name} message: protobuf cannot read it.")


def parser_of(deserializer: Any, limits: MessageLimits) -> RequestParser[Any]:
    """Return the parser that takes the place of a handler's deserializer.

    Raises:
        TypeError: It is not protobuf's own `FromString` of a message, and so what it makes cannot be counted.
    """
    kind = getattr(deserializer, "__self__", None)
    if not (isinstance(kind, type) and issubclass(kind, Message)):
        raise TypeError(f"{deserializer!r} is no message's FromString; register the handler without one")
    return RequestParser(kind, limits)
