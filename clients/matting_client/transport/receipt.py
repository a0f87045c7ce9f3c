# SPDX-License-Identifier: Apache-2.0
"""The server's word on what became of a call's image."""

from collections.abc import Iterable
from dataclasses import dataclass

from google.protobuf.message import DecodeError
from matting.v1 import matting_service_pb2 as pb

RECEIPT_KEY = "matting-receipt-bin"


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of the image of one call: how long it was held, and that it was released."""

    call_id: str
    held_s: float
    released: bool


def receipt_of(trailing_metadata: Iterable[tuple[str, str | bytes]] | None) -> Receipt | None:
    """Read the receipt off a call's trailing metadata; None where the server sent none that can be read."""
    for key, value in trailing_metadata or ():
        if key == RECEIPT_KEY and isinstance(value, bytes):
            try:
                message = pb.DataReceipt.FromString(value)
            except DecodeError:
                return None
            return Receipt(
                call_id=message.call_id,
                held_s=message.held_duration.ToTimedelta().total_seconds(),
                released=message.released,
            )
    return None
