# SPDX-License-Identifier: Apache-2.0
"""The gateway with imaging workers that sleep instead of working: `python tests/bench/sleeping_workers.py serve ...`.

One process stands in for all of them and speaks their protocol, so that what is left is the gateway's own work, and
two cores do for what many would have. Decoding takes 12 ms, rendering 8; a result has 60 KB.
"""

import array
import asyncio
import json
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace

from matting_gateway.cli import main
from matting_gateway.domain.photo import Refinement
from matting_gateway.imaging.dispatch import worker_handle
from matting_gateway.imaging.photo_job import REQUEST_BYTES, PhotoJob, Request, Step

_TAKES_S = {Step.DECODE: 0.012, Step.RENDER: 0.008}
_RESULT_BYTES = 60_000


class Sleeper:
    """One worker as `WorkerHandle` starts it, in the process that stands in for all."""

    def __init__(self, _command: Sequence[str], pass_fds: Sequence[int], stdin: int) -> None:
        self.pid = _STAND_IN_PID
        self._end = socket.socket(fileno=os.dup(pass_fds[0]))
        socket.send_fds(_CONTROL, [b"one more"], pass_fds)

    def kill(self) -> None:
        self._end.shutdown(socket.SHUT_RDWR)

    def poll(self) -> int:
        return 0


def stand_in(control: socket.socket) -> None:
    """Serve every worker's socket that is handed over, until the gateway has ended."""
    loop = asyncio.new_event_loop()
    control.setblocking(False)

    def take() -> None:
        message, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not message:
            loop.stop()
            return
        worker = socket.socket(fileno=descriptors[0])
        worker.setblocking(False)
        loop.add_reader(worker, read, worker)
        worker.send(json.dumps({"ready": True, "filtered": True}).encode())

    def read(worker: socket.socket) -> None:
        message, ancillary, _, _ = worker.recvmsg(REQUEST_BYTES, socket.CMSG_SPACE(4))
        if not message:
            loop.remove_reader(worker)
            worker.close()
            return
        request, (file,) = Request.unpacked(message), array.array("i", ancillary[0][2])
        answer = work(file, request)
        os.close(file)
        loop.call_later(_TAKES_S[request.step], worker.send, json.dumps(answer).encode())

    loop.add_reader(control, take)
    loop.run_forever()


def work(file: int, request: Request) -> dict[str, object]:
    """Write what a worker would, so that the gateway finds its pages, and return what it would answer."""
    job: PhotoJob = pickle.loads(request.job)  # noqa: S301 - the gateway's own
    if request.step is Step.DECODE:
        os.pwrite(file, bytes(job.model.byte_count), job.model.offset)
        return {"kept": [[False, False] for _ in job.pictures]}
    os.pwrite(file, bytes(_RESULT_BYTES), job.results.offset)
    place = [job.results.offset, _RESULT_BYTES, job.width_px, job.height_px]
    return {"results": [[Refinement.NONE.value, *place]], "box": None, "area_share": 0.5}


if __name__ == "__main__":
    _CONTROL, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    _STAND_IN_PID = os.fork()
    if _STAND_IN_PID == 0:
        _CONTROL.close()
        stand_in(theirs)
        os._exit(0)
    theirs.close()
    vars(worker_handle)["subprocess"] = SimpleNamespace(Popen=Sleeper, DEVNULL=subprocess.DEVNULL)
    sys.exit(main())
