# SPDX-License-Identifier: Apache-2.0
"""Nothing that a caller's bytes can stretch takes the event loop for more than 5 ms of processor time."""

import asyncio
import io
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
import pytest_asyncio
from grpc_h2.http2.wire import frames
from grpc_h2.http2.wire.header_blocks import write_fields
from grpc_reflection.v1alpha import reflection_pb2
from matting.v1 import matting_service_pb2 as pb
from PIL import Image
from testkit.fake_triton import FakeModel, FakeTriton, echo_config, uint8
from testkit.gateway import RunningGateway, running_gateway
from testkit.loop_watch import LoopWatch, slowness, watching_loop
from testkit.pngs import chunk, write_png
from testkit.raw_http2 import RawCaller
from tritonclient.grpc import model_config_pb2, service_pb2

MOST_S = 0.005
TRIES = 8
INFER = "/inference.GRPCInferenceService/ModelInfer"
STREAM_INFER = "/inference.GRPCInferenceService/ModelStreamInfer"
PHOTO = "/matting.v1.MattingService/RemoveBackground"
PHOTOS = "/matting.v1.MattingService/StreamRemoveBackground"
LIST = "/matting.v1.MattingService/ListModels"
HEALTH = "/grpc.health.v1.Health/Check"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
GZIP = grpc.Compression.Gzip


def matting_config() -> model_config_pb2.ModelConfig:
    """Return the configuration of a model for photos."""
    return model_config_pb2.ModelConfig(
        name="u2net",
        backend="python",
        max_batch_size=4,
        input=[uint8("image", (32, 32, 3), "input")],
        output=[uint8("alpha", (32, 32), "output")],
        parameters={"matting_fit": model_config_pb2.ModelParameter(string_value="stretch")},
        instance_group=[
            model_config_pb2.ModelInstanceGroup(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        ],
    )


async def opaque(request: service_pb2.ModelInferRequest) -> service_pb2.ModelInferResponse:
    """Answer that everything is the subject."""
    rows = request.inputs[0].shape[0]
    response = service_pb2.ModelInferResponse(model_name=request.model_name, model_version="1")
    response.outputs.add(name="alpha", datatype="UINT8", shape=(rows, 32, 32))
    response.raw_output_contents.append(b"\xff" * (rows * 1024))
    return response


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def served() -> AsyncIterator[tuple[RunningGateway, LoopWatch]]:
    models = FakeModel(matting_config(), opaque), FakeModel(echo_config("echo", width=-1))
    async with FakeTriton(*models) as triton, running_gateway(triton.address) as gateway:
        with watching_loop() as watch:
            yield gateway, watch


@dataclass(frozen=True)
class Attack:
    """Messages of one call, made beforehand, and how they are sent."""

    method: str
    messages: Callable[[], Iterable[bytes]]
    compression: grpc.Compression | None = None
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    # What the gateway says to it, by name; several where it ends in one of them.
    codes: tuple[str, ...] = ("INVALID_ARGUMENT",)

    def run(self, address: str) -> str:
        """Send them from a thread of its own; return the status."""
        options = (("grpc.use_local_subchannel_pool", 1), ("grpc.max_metadata_size", 1 << 20))
        with grpc.insecure_channel(address, options=options) as channel:
            call = channel.stream_stream(self.method, bytes, bytes)(
                iter(list(self.messages())), timeout=30, compression=self.compression, metadata=self.metadata
            )
            try:
                for _ in call:
                    pass
            except grpc.RpcError:
                pass
            return str(call.code().name)


def tensors_as_many_as_can_be() -> bytes:
    request = service_pb2.ModelInferRequest(model_name="echo")
    for index in range(170):
        tensor = request.inputs.add(name=f"{index:0100}", datatype="UINT8", shape=[1] * 250)
        tensor.parameters["shared_memory_region"].string_param = "region"
        tensor.parameters["shared_memory_byte_size"].int64_param = 100
    return bytes(request.SerializeToString())


def typed(field: str, values: list[int]) -> bytes:
    request = service_pb2.ModelInferRequest(model_name="echo")
    tensor = request.inputs.add(name="x", datatype="UINT8", shape=[1, len(values)])
    getattr(tensor.contents, field).extend(values)
    return bytes(request.SerializeToString())


def jpeg(*, progressive: bool = False) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(out, "JPEG", progressive=progressive)
    return out.getvalue()


def photo(content: bytes, **options: object) -> bytes:
    request = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=content), **options)  # type: ignore[arg-type]
    return bytes(request.SerializeToString())


def png_of_parts(kind: bytes) -> bytes:
    content = write_png(np.zeros((8, 8, 3), np.uint16), 2, 8)
    return content[:33] + chunk(kind, b"") * 16_000 + content[33:]


ATTACKS = {
    "half a million inputs, packed": Attack(INFER, lambda: [b"\x2a\x00" * 500_000], GZIP),
    "64 MiB of inputs, packed": Attack(INFER, lambda: [b"\x2a\x00" * (32 << 20)], GZIP, codes=("RESOURCE_EXHAUSTED",)),
    "sixteen million outputs, packed": Attack(
        PHOTO, lambda: [b"\x22\x00" * (16 << 20)], GZIP, codes=("RESOURCE_EXHAUSTED",)
    ),
    "four million outputs": Attack(PHOTO, lambda: [b"\x22\x00" * (4 << 20)]),
    "a million unknown fields": Attack(INFER, lambda: [b"\xf8\x3f\x01" * (1 << 20)]),
    "a million groups": Attack(INFER, lambda: [b"\x43\x44" * (1 << 20)]),
    "as many tensors as can be": Attack(INFER, lambda: [tensors_as_many_as_can_be()]),
    "a shape of millions": Attack(
        INFER,
        lambda: [
            service_pb2.ModelInferRequest(
                inputs=[service_pb2.ModelInferRequest.InferInputTensor(shape=[1] * (2 << 20))]
            ).SerializeToString()
        ],
    ),
    "typed contents of millions": Attack(INFER, lambda: [typed("uint_contents", [200] * (2 << 20))], codes=("OK",)),
    "typed contents of another kind": Attack(INFER, lambda: [typed("int64_contents", [-1] * (1 << 20))]),
    "a name as long as can be": Attack(INFER, lambda: [b"\x0a\x80\x80\x10" + b"a" * (256 << 10)], codes=("NOT_FOUND",)),
    "a name that is not ASCII": Attack(
        PHOTO, lambda: [photo(jpeg(), model=pb.ModelRef(name="ü" * (127 << 10)))], codes=("NOT_FOUND",)
    ),
    "a name too long": Attack(INFER, lambda: [b"\x0a" + b"\x80\x80\x80\x10" + b"a" * (32 << 20)]),
    "a PNG of parts": Attack(PHOTO, lambda: [photo(png_of_parts(b"IDAT"))], codes=("OK",)),
    "a PNG of orientations": Attack(PHOTO, lambda: [photo(png_of_parts(b"eXIf"))]),
    "a JPEG of segments": Attack(
        PHOTO, lambda: [photo(jpeg()[:2] + b"\xff\xe1\x00\x08Exif\x00\x00" * 16_000 + jpeg()[2:])]
    ),
    "a JPEG of scans": Attack(PHOTO, lambda: [photo(jpeg(progressive=True)[:-2] + b"\xff\xda" * (1 << 20))]),
    "a page token as long as can be": Attack(
        LIST, lambda: [pb.ListModelsRequest(page_token="z" * 60_000).SerializeToString()], codes=("OK",)
    ),
    "a question of nothing but fields": Attack(LIST, lambda: [b"\x08\x01" * 30_000]),
    "a service's name as long as can be": Attack(
        HEALTH, lambda: [b"\x0a" + b"\xe0\xd4\x03" + b"s" * 60_000], codes=("NOT_FOUND",)
    ),
    "a symbol's name as long as can be": Attack(
        REFLECTION,
        lambda: [reflection_pb2.ServerReflectionRequest(file_containing_symbol="s" * 60_000).SerializeToString()] * 20,
        codes=("OK",),
    ),
    "metadata as long as can be": Attack(
        LIST,
        lambda: [b""],
        metadata=tuple((f"x-{index}", "v" * 20) for index in range(150))
        + tuple((f"y-{index}-bin", bytes(10)) for index in range(40))
        + (("x-request-id", "r" * 500), ("authorization", "Bearer " + "t" * 1000)),
        codes=("OK",),
    ),
    "a thousand items": Attack(PHOTOS, lambda: [b"\x0a\x01a\x12\x00"] * 1000, codes=("OK",)),
    "an item of nothing but outputs": Attack(PHOTOS, lambda: [b"\x0a\x01a\x12\x80\x80\x40" + b"\x22\x00" * (1 << 19)]),
    "a stream of inputs": Attack(STREAM_INFER, lambda: [b"\x2a\x00" * 100_000] * 20, codes=("OK",)),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", ATTACKS)
async def test_no_step_takes_long(served: tuple[RunningGateway, LoopWatch], name: str) -> None:
    gateway, watch = served
    attack = ATTACKS[name]
    found = []
    for _ in range(TRIES):  # the machine may be slow at something else: the best try counts
        watch.start_again()
        assert await asyncio.to_thread(attack.run, gateway.address) in attack.codes
        taken_s = watch.longest_s / slowness()
        found.append((taken_s, watch.step))
        if taken_s <= MOST_S:
            return
    longest_s, step = min(found)
    pytest.fail(f"{longest_s * 1e3:.1f} ms at best in {step}")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", [INFER.encode(), PHOTO.encode(), LIST.encode(), b"/no.such.Service/Method"])
async def test_a_thousand_calls_that_come_at_once_are_opened_in_many_steps(
    served: tuple[RunningGateway, LoopWatch], path: bytes
) -> None:
    gateway, watch = served
    block = write_fields([(b":method", b"POST"), (b":scheme", b"http"), (b":path", path), (b":authority", b"a"),
                          (b"content-type", b"application/grpc"), (b"te", b"trailers")])  # fmt: skip
    flood = b"".join(frames.frame(frames.HEADERS, frames.END_HEADERS, 1 + 2 * n, block) for n in range(1000))

    def send_and_wait() -> None:
        host, _, port = gateway.address.rpartition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(frames.PREFACE + frames.settings({}) + flood + frames.frame(frames.PING, 0, 0, bytes(8)))
            connection.settimeout(20)
            received = b""
            while frames.frame(frames.PING, frames.ACK, 0, bytes(8)) not in received:
                more = connection.recv(1 << 16)
                assert more, "the connection was closed"
                received += more

    found = []
    for _ in range(TRIES):
        watch.start_again()
        await asyncio.to_thread(send_and_wait)
        found.append((watch.longest_s / slowness(), watch.step))
        if found[-1][0] <= MOST_S:
            return
    pytest.fail(f"{min(found)[0] * 1e3:.1f} ms at best in {min(found)[1]}")


# Messages of a stream that come at once, as many as one window takes; of those that are answered at once, and of items.
TINY = {
    "requests that name no model": (STREAM_INFER, b"\x0a\x00"),
    "photos without an id": (PHOTOS, b"\x12\x00"),
    "photos that are none": (PHOTOS, b"\x0a\x01a\x12\x00"),
}
ENDINGS = {
    "ends": frames.frame(frames.DATA, frames.END_STREAM, 1, b""),
    "is reset": frames.frame(frames.RST_STREAM, 0, 1, frames.CANCEL.to_bytes(4, "big")),
    "turns to garbage": frames.frame(frames.DATA, 0, 1, b"\x09\0\0\0\0"),
}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_thousands_of_messages_that_come_at_once_are_many_steps_and_leave_nothing(
    served: tuple[RunningGateway, LoopWatch], name: str, ending: str
) -> None:
    gateway, watch = served
    path, message = TINY[name]
    each = b"\0" + len(message).to_bytes(4, "big") + message
    body = each * (65_000 // len(each))
    size = frames.DEFAULT_FRAME_BYTES
    burst = b"".join(frames.frame(frames.DATA, 0, 1, body[at : at + size]) for at in range(0, len(body), size))
    burst += ENDINGS[ending]
    found = []
    for _ in range(TRIES):
        async with RawCaller(gateway.address, {frames.INITIAL_WINDOW_SIZE: 1 << 24}) as caller:
            caller.send(frames.window_update(0, 1 << 24))
            watch.start_again()
            caller.call(1, path.encode())
            caller.send(burst)
            if ending == "is reset":
                caller.send(frames.frame(frames.PING, 0, 0, bytes(8)))
                await caller.next_of(frames.PING)
            else:
                while (await caller.next_of(frames.HEADERS))[1] & frames.END_STREAM == 0:
                    pass
        async with asyncio.timeout(20):
            await gateway.gateway.frontend.boundary.wait_idle()
        assert gateway.gateway.gate.statistics().permit_count == 0
        found.append((watch.longest_s / slowness(), watch.step))
        if found[-1][0] <= MOST_S:
            return
    pytest.fail(f"{min(found)[0] * 1e3:.1f} ms at best in {min(found)[1]}")
