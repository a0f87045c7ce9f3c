# SPDX-License-Identifier: Apache-2.0
"""Slabs of memory that gateway and a Triton on the same host both see, so that a batch is written once.

Source: Triton's system shared memory extension. A slab is a POSIX segment without a name: it is
unlinked as soon as both sides have mapped it, so that nothing stays behind whoever dies.
"""

import asyncio
import contextlib
import mmap
import os
import re
import secrets
import socket
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_h2.bodies.idle_memory import IdleMemoryWiper, Later
from tritonclient.grpc import service_pb2, service_pb2_grpc

from matting_gateway.triton.shared_memory.slab import Lease, Slab

_FOLDER = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
_SMALLEST_BYTES = 64 << 10
_SEGMENT_NAME = re.compile(r"matting-(\d+)-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class SharedMemoryStatistics:
    """Slabs of one backend. `refusal` is why it takes none, empty if it does."""

    slab_count: int
    slab_bytes: int
    leased_count: int
    refusal: str


class SharedMemory:
    """The slabs of one backend.

    Owns them all; leased ones belong to their lease meanwhile. Invariants: a slab is in the free
    list or leased, never both; together they hold at most `budget_bytes`; of what was in a slab nothing
    is left once another batch has filled it, or (with `scrub`) has been free for two ticks; a void one is
    dropped. Touched on the event loop, but for `take_back`, which only appends to the list of returned slabs.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        *,
        budget_bytes: int,
        scrub: bool,
        timeout_s: float,
        later: Later | None = None,
    ) -> None:
        self._stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self._budget_bytes = budget_bytes
        self._scrub = scrub
        self._timeout_s = timeout_s
        self._slabs: dict[str, Slab] = {}
        self._free: list[Slab] = []
        self._returned: deque[Slab] = deque()
        self._refusal = "" if budget_bytes else "switched off"
        self._swept = not budget_bytes
        self._wiper = IdleMemoryWiper(self._overwrite_rested, later=later)

    async def lease(self, byte_count: int, filled_bytes: int) -> Lease | None:
        """Return memory for a batch of `byte_count` bytes; None where the message must carry it.

        Of these the first `filled_bytes` will be filled before anybody reads them, and may not be empty.
        """
        if self._refusal:
            return None
        self._collect()
        fitting = [slab for slab in self._free if slab.byte_count >= byte_count]
        if fitting:
            slab = min(fitting, key=lambda free: free.byte_count)
            self._free.remove(slab)
            return self._leased(slab, filled_bytes)
        size = max(_SMALLEST_BYTES, 1 << (byte_count - 1).bit_length())
        if not await self._make_room(size):
            return None
        made = await self._make(size)
        return None if made is None else self._leased(made, filled_bytes)

    def _leased(self, slab: Slab, filled_bytes: int) -> Lease:
        if self._scrub:
            self._wiper.note_in_use()
        return Lease(slab, self.take_back, filled_bytes)

    def take_back(self, slab: Slab) -> None:
        """Take a slab whose last view is gone; on any thread."""
        slab.tick = self._wiper.tick
        self._returned.append(slab)

    def _overwrite_rested(self) -> bool:
        """Overwrite slabs that have rested; tell whether any is leased or has still to rest."""
        self._collect()
        for slab in self._free:
            if self._wiper.rested(slab.tick):
                slab.wipe()
        return len(self._free) < len(self._slabs) or any(slab.used_bytes for slab in self._free)

    async def give_up_idle(self) -> None:
        """Drop the free slabs that no batch has used since the last call: one large batch must not cost for ever."""
        self._collect()
        idle = [slab for slab in self._free if slab.idle]
        self._free = [slab for slab in self._free if not slab.idle]
        for slab in self._free:
            slab.idle = True
        for slab in idle:
            del self._slabs[slab.region]
        await asyncio.gather(*(self._unregister(slab.region) for slab in idle))

    def forget(self) -> None:
        """Give every slab up: the backend that mapped them is gone, or must not be trusted to be done with them."""
        for slab in self._slabs.values():
            slab.void = True
        self._slabs.clear()
        self._free.clear()
        self._refusal = "" if self._budget_bytes else "switched off"

    async def close(self) -> None:
        """Unregister what no batch uses any more."""
        self._collect()
        await asyncio.gather(*(self._unregister(slab.region) for slab in self._free))
        self.forget()
        self._refusal = "closed"

    def statistics(self) -> SharedMemoryStatistics:
        self._collect()
        total = sum(slab.byte_count for slab in self._slabs.values())
        return SharedMemoryStatistics(len(self._slabs), total, len(self._slabs) - len(self._free), self._refusal)

    def __repr__(self) -> str:
        s = self.statistics()
        return f"<SharedMemory {s.slab_count} slabs, {s.leased_count} leased{', ' + s.refusal if s.refusal else ''}>"

    def _collect(self) -> None:
        while self._returned:
            slab = self._returned.popleft()
            if slab.void:
                self._slabs.pop(slab.region, None)
            elif slab.region in self._slabs:
                slab.idle = False
                self._free.append(slab)

    async def _make_room(self, byte_count: int) -> bool:
        """Drop free slabs until `byte_count` more fit into the budget."""
        while sum(slab.byte_count for slab in self._slabs.values()) + byte_count > self._budget_bytes:
            if not self._free:
                return False
            slab = self._free.pop(0)
            del self._slabs[slab.region]
            await self._unregister(slab.region)
        return True

    async def _make(self, byte_count: int) -> Slab | None:
        if not self._swept:
            self._swept = True
            await self._sweep()
        try:
            with _segment(byte_count) as (name, memory):
                region = f"matting/{socket.gethostname()}/{os.getpid()}/{name}"
                await self._stub.SystemSharedMemoryRegister(
                    service_pb2.SystemSharedMemoryRegisterRequest(name=region, key=f"/{name}", byte_size=byte_count),
                    timeout=self._timeout_s,
                )
        except OSError as exc:
            self._refusal = f"no segment of {byte_count} bytes: {exc.strerror}"
            return None
        except grpc.aio.AioRpcError as exc:
            self._refusal = f"{exc.code().name}: {exc.details()}"
            return None
        slab = self._slabs[region] = Slab(region, memory, byte_count)
        return slab

    async def _sweep(self) -> None:
        """Unregister what gateways left that ran here and were killed."""
        with contextlib.suppress(grpc.aio.AioRpcError):
            status = await self._stub.SystemSharedMemoryStatus(
                service_pb2.SystemSharedMemoryStatusRequest(), timeout=self._timeout_s
            )
            prefix = f"matting/{socket.gethostname()}/"
            for region in status.regions:
                pid = region.removeprefix(prefix).partition("/")[0]
                if region.startswith(prefix) and pid.isdecimal() and not _is_alive(int(pid)):
                    await self._unregister(region)

    async def _unregister(self, region: str) -> None:
        with contextlib.suppress(grpc.aio.AioRpcError):
            await self._stub.SystemSharedMemoryUnregister(
                service_pb2.SystemSharedMemoryUnregisterRequest(name=region), timeout=self._timeout_s
            )


def remove_left_segments() -> None:
    """Remove segments of gateways that were killed in the moment in which a segment has a name."""
    for path in _FOLDER.glob("matting-*"):
        match = _SEGMENT_NAME.fullmatch(path.name)
        if match and not _is_alive(int(match[1])):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def _segment(byte_count: int) -> Iterator[tuple[str, mmap.mmap]]:
    """Make a segment that has a name only within the block."""
    name = f"matting-{os.getpid()}-{secrets.token_hex(8)}"
    descriptor = os.open(_FOLDER / name, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        # Reserved now: a full file system must fail here, not end the process at the first write.
        os.posix_fallocate(descriptor, 0, byte_count)
        yield name, mmap.mmap(descriptor, byte_count)
    finally:
        os.close(descriptor)
        (_FOLDER / name).unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
