# SPDX-License-Identifier: Apache-2.0
"""The decoder processes, lent out photo by photo, and replaced when they die."""

import asyncio

from matting_gateway.domain import Buffer
from matting_gateway.errors import ImageUnreadableError, InternalError
from matting_gateway.imaging.decoder_child import Aside, DecoderProcess
from matting_gateway.imaging.plan import DecodePlan, decoder_memory_bytes, decoder_timeout_s
from matting_gateway.imaging.prepare import Prepared


class Decoders:
    """A fixed number of decoder processes, lent to the calls that decode. For one event loop.

    Owns the processes. A process is in the queue of idle ones, or lent to exactly one call, or dead: None stands for
    one in the queue then.
    """

    def __init__(self, count: int, *, base_timeout_s: float, aside: Aside) -> None:
        self._count = count
        self._base_timeout_s = base_timeout_s
        self._aside = aside
        self._idle: asyncio.Queue[DecoderProcess | None] = asyncio.Queue()
        self._owned_count = 0
        self._closed = False
        self.killed_total = 0

    async def start(self) -> None:
        """Start all processes and wait until they are ready.

        Raises:
            InternalError: One did not start.
        """
        processes = await self._aside(lambda: [DecoderProcess() for _ in range(self._count)])
        for process in processes:
            self._idle.put_nowait(process)
        self._owned_count = len(processes)

        def wait_ready() -> None:
            for process in processes:
                process.wait_ready()

        await self._aside(wait_ready)

    async def decode(self, content: Buffer, plan: DecodePlan) -> Prepared:
        """Decode one file in one of the processes.

        Raises:
            ImageUnreadableError: Damaged, or it made the decoder hang or crash.
            ImageFormatUnsupportedError: Samples that cannot be kept.
            ImageTooLargeError: More memory or a larger profile than a photo of its size may have.
            InternalError: No process could be started, or they have been closed.
        """
        if self._closed:
            raise InternalError("The decoders are closed.")
        timeout_s = decoder_timeout_s(plan, self._base_timeout_s)
        memory_bytes = decoder_memory_bytes(plan) + 2 * len(content)
        # The process that is lent, or nothing as long as there is a dead one to be replaced: kept where also what was
        # begun before a cancellation is found.
        lent = [process for process in [await self._idle.get()] if process is not None]
        try:
            if lent and not lent[0].is_fit():
                # Ended while idle, or hung when nobody waited any more: not this photo's fault.
                await self._bury(lent.pop())
            if not lent:
                await self._aside(lambda: lent.append(_started()))
            return await lent[0].decode(content, plan, memory_bytes, timeout_s, self._aside)
        except (OSError, ValueError) as error:
            if lent:
                await self._bury(lent.pop())
            if isinstance(error, TimeoutError):
                raise ImageUnreadableError(
                    f"The {plan.header.format.title} file could not be decoded within {timeout_s:.1f} s: "
                    "it is damaged, or made to be slow."
                ) from error
            raise ImageUnreadableError(
                f"The {plan.header.format.title} file made its decoder fail: it is damaged."
            ) from error
        finally:
            self._idle.put_nowait(lent.pop() if lent else None)

    async def close(self) -> None:
        """End all processes, each once it has decoded what it has, and what waited for one before."""
        self._closed = True
        for _ in range(self._owned_count):
            process = await self._idle.get()
            if process is not None:
                await asyncio.to_thread(process.kill)

    async def _bury(self, process: DecoderProcess) -> None:
        """Kill a process; the next photo starts a new one in its place."""
        self.killed_total += 1
        await self._aside(process.kill)


def _started() -> DecoderProcess:
    process = DecoderProcess()
    process.wait_ready()
    return process
