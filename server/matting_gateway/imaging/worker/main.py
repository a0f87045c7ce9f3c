# SPDX-License-Identifier: Apache-2.0
"""The program of an imaging worker: `python -m matting_gateway.imaging.worker.main SOCKET_FD`.

One request at a time over a sequenced-packet socket: a packed `Request` with the descriptor of one call's file. The
answer is one small JSON object. The gateway is trusted; the photo is not.
"""

import array
import json
import mmap
import os
import pickle
import signal
import socket
import sys

from matting_gateway.array_memory import use_python_allocator
from matting_gateway.errors import GatewayError
from matting_gateway.imaging.photo_job import REQUEST_BYTES, PhotoJob, Request, Step
from matting_gateway.imaging.worker.allocator import Allocator
from matting_gateway.imaging.worker.call_room import AbandonedError, CallRoom
from matting_gateway.imaging.worker.sandbox import MemoryLimit, enter_sandbox
from matting_gateway.imaging.worker.steps import decode, render
from matting_gateway.imaging.worker.warm_up import warm_up

# Anything that a photo makes a codec raise.
_PHOTO_ERRORS = (Exception,)


def serve(connection: socket.socket, memory: MemoryLimit, allocator: Allocator) -> None:
    """Do one step after the other until the gateway closes its end."""
    while True:
        message, descriptors = _receive(connection)
        if not message:
            return
        request = Request.unpacked(message)
        signal.alarm(request.timeout_s)
        try:
            answer = _answer(request, memory, descriptors[0])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        signal.alarm(0)
        connection.send(json.dumps(answer).encode())
        # The libraries' own tables of a large photo.
        allocator.give_back()


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    space = socket.CMSG_SPACE(array.array("i").itemsize)
    message, ancillary, _, _ = connection.recvmsg(REQUEST_BYTES, space)
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    return message, list(descriptors)


def _answer(request: Request, memory: MemoryLimit, descriptor: int) -> dict[str, object]:
    job: PhotoJob = pickle.loads(request.job)  # noqa: S301 - only the gateway holds the other end
    try:
        # Before anything is mapped: what is in force still is the limit of the photo before.
        memory.allow(request.memory_bytes + job.total_bytes)
        room = CallRoom(mmap.mmap(descriptor, job.total_bytes), job)
        return decode(job, room) if request.step is Step.DECODE else render(job, room, request.kept)
    except GatewayError as error:
        return {"reason": error.reason, "message": error.message, "field": error.field}
    except AbandonedError:
        return {"reason": "ABANDONED"}
    except MemoryError:
        return {"reason": "MEMORY"}
    except _PHOTO_ERRORS:
        return {"reason": "FAILED"}


def main() -> None:
    """Load every codec, give up all rights, then serve."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    use_python_allocator()
    warm_up()
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    memory = MemoryLimit()
    allocator = Allocator(memory.resident_bytes)
    filtered = enter_sandbox()
    connection.send(json.dumps({"ready": True, "filtered": filtered}).encode())
    serve(connection, memory, allocator)


if __name__ == "__main__":
    main()
