# SPDX-License-Identifier: Apache-2.0
"""Sends canaries: answered, failed and given up on."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Self

import grpc
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from testkit.memory_scan import Canary

from privacy_proof.canaries import CanaryCall, add_result
from privacy_proof.service import Service

RECEIPT_KEY = "matting-receipt-bin"
_DEADLINE_S = 120.0
CONNECTION_COUNT = 4
_CALLER_COUNT = 8
# Every tenth caller goes away after so long, in turn: while sending, waiting, being served.
_GIVE_UP_EVERY = 10
_GIVE_UP_AFTER_S = (0.0, 0.005, 0.02, 0.08)


class Load:
    """Calls a service with canaries over a few connections.

    Owns the channels, open from `__aenter__` to `close`, and what became of the calls: `codes`,
    and `receipts` (how many calls that ended by themselves brought one that says released).
    """

    def __init__(self, service: Service, canary: Canary) -> None:
        self._service = service
        self._canary = canary
        self._channels: list[grpc.aio.Channel] = []
        self.codes: Counter[str] = Counter()
        self.receipt_count = 0
        self.receipts_missing: list[str] = []
        self.texts: list[str] = []

    async def __aenter__(self) -> Self:
        self._channels = [self._service.channel() for _ in range(CONNECTION_COUNT)]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        for channel in self._channels:
            await channel.close()
        self._channels = []

    async def run(self, calls: Sequence[CanaryCall], count: int) -> None:
        """Send `count` calls, going round the given ones."""
        numbers = iter(range(count))

        async def caller() -> None:
            for number in numbers:
                await self._call(number, calls[number % len(calls)])

        async with asyncio.TaskGroup() as group:
            for _ in range(_CALLER_COUNT):
                group.create_task(caller())

    async def _call(self, number: int, call: CanaryCall) -> None:
        channel = self._channels[number % len(self._channels)]
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        rpc = stub.RemoveBackground(call.request, timeout=_DEADLINE_S, metadata=self._service.metadata)
        if number % _GIVE_UP_EVERY == _GIVE_UP_EVERY - 1:
            await asyncio.sleep(_GIVE_UP_AFTER_S[number // _GIVE_UP_EVERY % len(_GIVE_UP_AFTER_S)])
            rpc.cancel()
        try:
            answer = await rpc
        except asyncio.CancelledError:
            self.codes["given up"] += 1
            return
        except grpc.aio.AioRpcError as exc:
            self.codes[exc.code().name] += 1
            self.texts.append(str(exc.details()))
        else:
            self.codes["OK"] += 1
            add_result(self._canary, answer)
        self._check_receipt(number, await rpc.trailing_metadata())

    def _check_receipt(self, number: int, trailing: grpc.aio.Metadata) -> None:
        content = dict(trailing).get(RECEIPT_KEY)
        receipt = pb.DataReceipt.FromString(content) if isinstance(content, bytes) else pb.DataReceipt()
        if receipt.released and receipt.call_id:
            self.receipt_count += 1
        else:
            self.receipts_missing.append(f"call {number}")
