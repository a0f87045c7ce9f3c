# SPDX-License-Identifier: Apache-2.0
"""The decoder processes, lent out photo by photo, and replaced when they die."""

import asyncio
from collections import deque

from matting_gateway.domain import Buffer
from matting_gateway.errors import ImageUnreadableError, InternalError
from matting_gateway.imaging.decoder_child import Aside, DecoderProcess
from matting_gateway.imaging.plan import DecodePlan, decoder_memory_bytes, decoder_timeout_s
from matting_gateway.imaging.prepare import Prepared


class Decoders:
    """A fixed number of decoder processes, lent to the calls that decode, in the order in which they ask.

    Owns the processes: one that is not lent to exactly one call is idle, or has been killed. Invariant: there are never
    more idle ones than places that no call holds. For one event loop.
    """

    def __init__(self, count: int, *, base_timeout_s: float, aside: Aside) -> None:
        self._count = count
        self._base_timeout_s = base_timeout_s
        self._aside = aside
        self._places = asyncio.Semaphore(count)
        self._idle: deque[DecoderProcess] = deque()
        self._closed_places = 0
        self._closed = False
        self.killed_total = 0

    async def start(self) -> None:
        """Start all processes and wait until they are ready.

        Raises:
            InternalError: One did not start.
        """

        def start_all() -> None:
            for _ in range(self._count):
                self._idle.append(_made())
            for process in self._idle:
                process.wait_ready()

        await self._aside(start_all)

    async def decode(self, content: Buffer, plan: DecodePlan) -> Prepared:
        """Decode one file in one of the processes.

        Raises:
            ImageUnreadableError: Damaged, or it made the decoder hang or crash.
            ImageFormatUnsupportedError: Samples that cannot be kept.
            ImageTooLargeError: More memory or a larger profile than a photo of its size may have.
            InternalError: No process could be started, no memory be had, or all have been closed.
        """
        if self._closed:
            raise InternalError("The decoders are closed.")
        timeout_s = decoder_timeout_s(plan, self._base_timeout_s)
        memory_bytes = decoder_memory_bytes(plan) + 2 * len(content)
        async with self._places:
            process = await self._lend()
            try:
                return await process.decode(content, plan, memory_bytes, timeout_s, self._aside)
            except TimeoutError as error:
                raise ImageUnreadableError(
                    f"The {plan.header.format.title} file could not be decoded within {timeout_s:.1f} s: "
                    "it is damaged, or made to be slow."
                ) from error
            except (OSError, ValueError) as error:
                raise ImageUnreadableError(
                    f"The {plan.header.format.title} file made its decoder fail: it is damaged."
                ) from error
            finally:
                await self._take_back(process)

    async def close(self) -> None:
        """End all processes, each once it has decoded what it has, and what waited for one before."""
        self._closed = True
        while self._closed_places < self._count:
            await self._places.acquire()
            self._closed_places += 1
        while self._idle:
            await asyncio.to_thread(self._idle.popleft().kill)

    async def _lend(self) -> DecoderProcess:
        while True:
            while self._idle:
                process = self._idle.popleft()
                if process.is_fit():
                    return process
                # Ended while idle: not this photo's fault.
                await self._bury(process)
            # To the others, so that it is found if its caller gives up meanwhile; then another call may be first.
            await self._aside(lambda: self._idle.append(_ready()))

    async def _take_back(self, process: DecoderProcess) -> None:
        """Keep a process, or kill it before its caller is let go: it may hold the photo still."""
        if process.is_fit():
            self._idle.append(process)
        else:
            await self._bury(process)

    async def _bury(self, process: DecoderProcess) -> None:
        """Kill a process; the next photo starts a new one in its place."""
        self.killed_total += 1
        await self._aside(process.kill)


def _made() -> DecoderProcess:
    try:
        return DecoderProcess()
    except OSError as error:
        raise InternalError("No decoder process could be started.") from error


def _ready() -> DecoderProcess:
    process = _made()
    process.wait_ready()
    return process
