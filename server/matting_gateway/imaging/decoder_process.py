# SPDX-License-Identifier: Apache-2.0
"""The program of a decoder process: `python -m matting_gateway.imaging.decoder_process SOCKET_FD`.

One request at a time over a sequenced-packet socket: a pickled `Request` with two file descriptors, the file and
the room for its pixels, both in memory. The answer is one small JSON object. The parent is trusted; the file is not.
"""

import array
import io
import json
import mmap
import os
import pickle
import signal
import socket
import sys

import numpy as np
from PIL import Image

from matting_gateway.errors import GatewayError, ImageUnreadableError
from matting_gateway.imaging.canvas import PrivateCanvas, give_back_freed
from matting_gateway.imaging.decode import set_up_decoders
from matting_gateway.imaging.decoder_protocol import REQUEST_BYTES, Layout, Request, SharedCanvas
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.plan import DecodePlan
from matting_gateway.imaging.prepare import Prepared, prepare_file
from matting_gateway.imaging.sandbox import MemoryLimit, enter_sandbox

_FD_COUNT = 2
# Anything that a file makes a decoder raise.
_PHOTO_ERRORS = (Exception,)


def serve(connection: socket.socket, memory: MemoryLimit) -> None:
    """Decode until the parent closes its end."""
    while True:
        message, descriptors = _receive(connection)
        if not message:
            return
        request: Request = pickle.loads(message)  # noqa: S301 - only the parent holds the other end
        signal.alarm(request.timeout_s)
        try:
            answer = _answer(request, memory, *descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        signal.alarm(0)
        connection.send(json.dumps(answer).encode())
        # The libraries' own tables of a large photo; an idle process holds nothing of it.
        give_back_freed()


def _receive(connection: socket.socket) -> tuple[bytes, list[int]]:
    space = socket.CMSG_SPACE(_FD_COUNT * array.array("i").itemsize)
    message, ancillary, _, _ = connection.recvmsg(REQUEST_BYTES, space)
    descriptors = array.array("i")
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    return message, list(descriptors)


def _answer(request: Request, memory: MemoryLimit, content_fd: int, room_fd: int) -> dict[str, object]:
    plan = request.plan
    layout = Layout.of(plan)
    try:
        # Before anything is mapped: what is in force still is the limit of the photo before.
        memory.allow(request.memory_bytes + layout.total_bytes)
        content = mmap.mmap(content_fd, request.content_bytes, access=mmap.ACCESS_READ)
        room = mmap.mmap(room_fd, layout.total_bytes, flags=mmap.MAP_SHARED)
        canvas = SharedCanvas(layout, room) if plan.keep_color else PrivateCanvas()
        return _store(prepare_file(memoryview(content), plan, canvas), plan, layout, room)
    except GatewayError as error:
        return {"reason": error.reason, "message": error.message}
    except MemoryError:
        return {"reason": "MEMORY"}
    except _PHOTO_ERRORS:
        return {"reason": ImageUnreadableError.reason}


def _store(prepared: Prepared, plan: DecodePlan, layout: Layout, room: mmap.mmap) -> dict[str, object]:
    """Copy into the shared memory what does not lie there yet."""
    kept = prepared.color if prepared.color is not None else prepared.alpha
    deep = kept is not None and kept.dtype == np.uint16
    target = layout.parts(room, plan, deep=deep, alpha=prepared.alpha is not None)
    for source, destination in (
        (prepared.model_pixels, target.model_pixels),
        (prepared.color, target.color),
        (prepared.alpha, target.alpha),
    ):
        if source is None or destination is None or np.may_share_memory(source, destination):
            continue
        np.copyto(destination, source, casting="no")
    return {"deep": deep, "alpha": prepared.alpha is not None}


def main() -> None:
    """Load every decoder, give up all rights, then serve."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    connection = socket.socket(fileno=int(sys.argv[1]))
    set_up_decoders()
    Image.init()
    _warm_up()
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    memory = MemoryLimit()
    filtered = enter_sandbox()
    connection.send(json.dumps({"ready": True, "filtered": filtered}).encode())
    serve(connection, memory)


def _warm_up() -> None:
    """Decode once, so that whatever the libraries load late is loaded before files are out of reach."""
    for image_format in ImageFormat:
        buffer = io.BytesIO()
        try:
            Image.new("RGB", (8, 8)).save(buffer, image_format.pillow_name)
            with Image.open(io.BytesIO(buffer.getvalue()), formats=(image_format.pillow_name,)) as image:
                image.convert("RGB").resize((4, 4))
        except (KeyError, OSError):
            continue


if __name__ == "__main__":
    main()
