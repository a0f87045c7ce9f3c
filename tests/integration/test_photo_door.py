# SPDX-License-Identifier: Apache-2.0
"""Facts about the photo door, over the wire, on a real Triton with a model that returns the first channel."""

import asyncio
import io
import json
import socket
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_triton.local import LocalTriton
from PIL import Image
from testkit.gateway import LOOPBACK, RunningGateway, running_gateway, wait_serving

pytestmark = pytest.mark.triton


def jpeg(width_px: int = 640, height_px: int = 480, seed: int = 0) -> bytes:
    noise = np.random.default_rng(seed).integers(0, 256, (height_px // 8, width_px // 8, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noise).resize((width_px, height_px)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def photo(content: bytes, *outputs: pb.OutputSpec) -> pb.RemoveBackgroundRequest:
    return pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=content), outputs=outputs)


def reason_in(status: status_pb2.Status) -> str:
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    assert info.domain == "matting-gateway"
    return str(info.reason)


def reason_of(error: grpc.aio.AioRpcError) -> str:
    return reason_in(status_pb2.Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"]))


async def idle(running: RunningGateway) -> None:
    async with asyncio.timeout(20):
        await running.gateway.frontend.boundary.wait_idle()


@pytest.fixture
def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


async def test_a_jpeg_comes_back_as_an_alpha_png_of_its_own_size(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        answer = await running.stub.RemoveBackground(photo(jpeg()))
        alpha = Image.open(io.BytesIO(answer.outputs[0].encoded.content))
        assert (alpha.format, alpha.mode, alpha.size) == ("PNG", "L", (640, 480))
        assert answer.model.name == "nothing"
        assert running.metric("matting_images_total", model="nothing", outcome="ok", tenant="") == 1


async def test_a_cutout_has_the_photos_colours_and_the_models_alpha(triton_server: LocalTriton) -> None:
    """The model answers with the first channel, and its grid is the photo's own."""
    pixels = np.random.default_rng(1).integers(1, 256, (320, 320, 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        asked = photo(stream.getvalue(), pb.OutputSpec(kind=pb.OUTPUT_KIND_CUTOUT))
        answer = await running.stub.RemoveBackground(asked)
        cutout = Image.open(io.BytesIO(answer.outputs[0].encoded.content))
        assert (cutout.format, cutout.mode) == ("PNG", "RGBA")
        assert np.array_equal(np.asarray(cutout), np.dstack([pixels, pixels[..., 0]]))


async def test_raw_pixels_go_in_and_come_out(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        data = np.random.default_rng(1).integers(0, 256, (320, 320, 3), np.uint8)
        request = pb.RemoveBackgroundRequest(
            pixels=pb.PixelImage(data=data.tobytes(), width_px=320, height_px=320, pixel_format=pb.PIXEL_FORMAT_RGB8),
            outputs=[pb.OutputSpec(raw=pb.RawEncoding())],
        )
        answer = await running.stub.RemoveBackground(request)
        pixels = answer.outputs[0].pixels
        assert (pixels.width_px, pixels.height_px, pixels.pixel_format) == (320, 320, pb.PIXEL_FORMAT_GRAY8)
        assert pixels.data == data[:, :, 0].tobytes()


async def test_several_outputs_come_in_the_order_asked(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        kinds = (pb.OUTPUT_KIND_CUTOUT, pb.OUTPUT_KIND_ALPHA)
        answer = await running.stub.RemoveBackground(photo(jpeg(), *(pb.OutputSpec(kind=k) for k in kinds)))
        modes = [Image.open(io.BytesIO(o.encoded.content)).mode for o in answer.outputs]
        assert modes == ["RGBA", "L"]


def disk() -> bytes:
    """A photo whose first channel, which the model answers with, is an alpha with an edge."""
    rows, columns = np.mgrid[:480, :640]
    inside = np.hypot(columns - 320, rows - 240) < 150
    pixels = np.dstack([inside * 255, np.where(inside, 40, 200), (rows + columns) % 60]).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


async def test_the_edge_is_solved_for_where_there_is_one_and_the_answer_says_what_was_done(
    triton_server: LocalTriton,
) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        asked = [
            pb.OutputSpec(refinement=pb.REFINEMENT_MATTING),
            pb.OutputSpec(kind=pb.OUTPUT_KIND_CUTOUT, refinement=pb.REFINEMENT_MATTING, max_side_px=200),
            pb.OutputSpec(refinement=pb.REFINEMENT_GUIDED),
            pb.OutputSpec(model_grid=True),
        ]
        solved = [pb.REFINEMENT_MATTING, pb.REFINEMENT_MATTING, pb.REFINEMENT_GUIDED, pb.REFINEMENT_NONE]
        guided = [pb.REFINEMENT_GUIDED] * 3 + [pb.REFINEMENT_NONE]
        # Noise is all doubt: whoever sends it gets what can be had, and takes nothing from the next.
        for content, expected in ((disk(), solved), (jpeg(), guided), (disk(), solved)):
            answer = await running.stub.RemoveBackground(photo(content, *asked))
            assert [output.refinement_applied for output in answer.outputs] == expected
            assert [(each.width_px, each.height_px) for each in answer.outputs] == [
                (640, 480),
                (200, 150),
                (640, 480),
                (320, 320),
            ]
        unknown = pb.OutputSpec(refinement=99)  # type: ignore[arg-type]  # of a newer contract
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await running.stub.RemoveBackground(photo(disk(), unknown))
        assert reason_of(caught.value) == "OPTION_UNSUPPORTED"
        await idle(running)
        assert running.metric("matting_resident_bytes") == 0


async def test_the_request_id_is_echoed_and_the_receipt_says_released(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        call = running.stub.RemoveBackground(photo(jpeg()), metadata=(("x-request-id", "abc-123"),))
        await call
        trailing = dict(await call.trailing_metadata() or ())
        receipt = pb.DataReceipt.FromString(trailing["matting-receipt-bin"])
        assert trailing["x-request-id"] == dict(await call.initial_metadata() or ())["x-request-id"] == "abc-123"
        assert receipt.call_id == "abc-123"
        assert receipt.released
        assert receipt.held_duration.ToNanoseconds() > 0
        await idle(running)
        assert running.metric("matting_resident_bytes") == 0


BAD_REQUESTS = {
    "no photo": (pb.RemoveBackgroundRequest(), "OPTION_INVALID"),
    "empty": (photo(b""), "OPTION_INVALID"),
    "not an image": (photo(b"plain text, not a picture at all"), "IMAGE_UNREADABLE"),
    "truncated": (photo(jpeg()[:2000]), "IMAGE_UNREADABLE"),
    "unknown model": (
        pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=jpeg()), model=pb.ModelRef(name="no-such")),
        "MODEL_NOT_FOUND",
    ),
    "a model that takes no photos": (
        pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=jpeg()), model=pb.ModelRef(name="delay")),
        "OPTION_INVALID",
    ),
    "unknown version": (
        pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=jpeg()), model=pb.ModelRef(version="77")),
        "MODEL_NOT_FOUND",
    ),
    "unknown kind": (photo(jpeg(), pb.OutputSpec(kind=99)), "OPTION_UNSUPPORTED"),  # type: ignore[arg-type]  # a value of a later contract
    "unknown encoding": (
        photo(jpeg(), pb.OutputSpec(encoded=pb.ImageEncoding(mime_type="image/bmp"))),
        "OPTION_UNSUPPORTED",
    ),
    "a cutout as JPEG": (
        photo(jpeg(), pb.OutputSpec(kind=pb.OUTPUT_KIND_CUTOUT, encoded=pb.ImageEncoding(mime_type="image/jpeg"))),
        "OPTION_INVALID",
    ),
    "negative size": (photo(jpeg(), pb.OutputSpec(max_side_px=-1)), "OPTION_INVALID"),
    "wrong length of pixels": (
        pb.RemoveBackgroundRequest(
            pixels=pb.PixelImage(data=b"abc", width_px=2, height_px=2, pixel_format=pb.PIXEL_FORMAT_RGB8)
        ),
        "OPTION_INVALID",
    ),
    "zero width": (
        pb.RemoveBackgroundRequest(
            pixels=pb.PixelImage(data=b"", width_px=0, height_px=2, pixel_format=pb.PIXEL_FORMAT_RGB8)
        ),
        "OPTION_INVALID",
    ),
    "no pixel format": (
        pb.RemoveBackgroundRequest(pixels=pb.PixelImage(data=b"abc", width_px=1, height_px=1)),
        "OPTION_INVALID",
    ),
    "too many outputs": (photo(jpeg(), *[pb.OutputSpec()] * 40), "OPTION_INVALID"),
}


async def test_every_bad_request_has_its_own_error_and_harms_no_neighbour(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        good = [asyncio.ensure_future(running.stub.RemoveBackground(photo(jpeg(seed=n)))) for n in range(8)]
        found = {}
        for name, (request, _) in BAD_REQUESTS.items():
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await running.stub.RemoveBackground(request)
            found[name] = reason_of(failed.value)
            assert len(failed.value.details() or "") > 20, name
        assert found == {name: reason for name, (_, reason) in BAD_REQUESTS.items()}
        assert all(answer.outputs[0].width_px == 640 for answer in await asyncio.gather(*good))
        await idle(running)
        assert running.metric("matting_resident_bytes") == 0


async def test_an_error_carries_its_receipt_too(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.stub.RemoveBackground(photo(b"no picture"))
        trailing = dict(failed.value.trailing_metadata())
        assert pb.DataReceipt.FromString(trailing["matting-receipt-bin"]).released


async def test_bytes_that_are_no_message_are_refused_by_name(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        call = running.channel.unary_unary("/matting.v1.MattingService/RemoveBackground", bytes, bytes)
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call(b"\xff\xff\xff\xff")
        assert reason_of(failed.value) == "OPTION_INVALID"


async def test_a_message_larger_than_promised_is_refused(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.stub.RemoveBackground(photo(jpeg()), metadata=(("x-matting-request-bytes", "10"),))
        assert reason_of(failed.value) == "OPTION_INVALID"


async def test_a_stream_ends_at_a_message_larger_than_promised(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        stream = running.stub.StreamRemoveBackground(metadata=(("x-matting-request-bytes", "10"),))
        await stream.write(pb.StreamRemoveBackgroundRequest(item_id="a", request=photo(jpeg())))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stream.read()
        assert reason_of(failed.value) == "OPTION_INVALID"


async def test_models_are_listed_in_pages_in_order_of_name(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        names: list[str] = []
        token = ""
        while True:
            page = await running.stub.ListModels(pb.ListModelsRequest(page_size=2, page_token=token))
            names += [model.name for model in page.models]
            token = page.next_page_token
            if not token:
                break
            assert len(page.models) == 2
        assert names == sorted(set(names))
        assert {"nothing", "delay"} <= set(names)


async def test_an_item_that_fails_answers_alone_and_the_stream_goes_on(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        stream = running.stub.StreamRemoveBackground()
        for item_id, content in (("a", jpeg()), ("bad", b"no picture"), ("b", jpeg(seed=1))):
            await stream.write(pb.StreamRemoveBackgroundRequest(item_id=item_id, request=photo(content)))
        await stream.done_writing()
        answers = {answer.item_id: answer async for answer in stream}
        assert {i: a.WhichOneof("result") for i, a in answers.items()} == {
            "a": "response",
            "b": "response",
            "bad": "error",
        }
        await idle(running)
        assert running.metric("matting_resident_bytes") == 0


async def test_an_items_deadline_that_is_past_or_an_id_that_is_none_or_in_use_is_its_own_error(
    triton_server: LocalTriton,
) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="slow_matting") as running:
        stream = running.stub.StreamRemoveBackground()
        await stream.write(
            pb.StreamRemoveBackgroundRequest(item_id="late", request=photo(jpeg()), time_to_live=Duration(seconds=-1))
        )
        await stream.write(pb.StreamRemoveBackgroundRequest(item_id="", request=photo(jpeg())))
        await stream.write(pb.StreamRemoveBackgroundRequest(item_id="idle"))
        item = pb.StreamRemoveBackgroundRequest(item_id="twice", request=photo(jpeg()))
        for _ in range(2):  # the model has the first one for long
            await stream.write(item)
        await stream.done_writing()
        answers = [(a.item_id, reason_in(a.error) if a.HasField("error") else "OK") async for a in stream]
        assert sorted(answers) == [
            ("", "OPTION_INVALID"),
            ("idle", "OPTION_INVALID"),
            ("late", "DEADLINE_UNREACHABLE"),
            ("twice", "OK"),
            ("twice", "OPTION_INVALID"),
        ]


async def test_a_cancelled_item_answers_cancelled_and_frees_its_place(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="slow_matting") as running:
        stream = running.stub.StreamRemoveBackground()
        for n in range(16):
            await stream.write(pb.StreamRemoveBackgroundRequest(item_id=f"{n}", request=photo(jpeg())))
        for n in range(16):
            await stream.write(pb.StreamRemoveBackgroundRequest(item_id=f"{n}", cancel=pb.CancelItem()))
        await stream.done_writing()
        answers = [a async for a in stream]
        assert sorted(int(a.item_id) for a in answers) == list(range(16))
        assert any(a.error.code == grpc.StatusCode.CANCELLED.value[0] for a in answers)
        await idle(running)
        assert running.metric("matting_resident_bytes") == 0


async def test_a_deadline_too_short_for_anything_is_refused_and_not_served(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.stub.RemoveBackground(photo(jpeg(3000, 2000)), timeout=0.004)
        assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await idle(running)
        assert running.metric("matting_images_total", model="nothing", outcome="ok", tenant="") == 0


async def test_many_at_once_are_batched_and_each_equals_its_answer_alone(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        photos = [jpeg(320, 320, seed=n) for n in range(64)]
        alone = [await running.stub.RemoveBackground(photo(p)) for p in photos[:8]]
        assert running.metric("matting_batch_size_count", model="nothing") == 8
        together = await asyncio.gather(*(running.stub.RemoveBackground(photo(p)) for p in photos))
        assert running.metric("matting_batch_size_sum", model="nothing") == 8 + 64
        assert running.metric("matting_batch_size_count", model="nothing") < 8 + 64
        assert [a.outputs for a in alone] == [t.outputs for t in together[:8]]
        assert len({t.outputs[0].encoded.content for t in together}) == 64


async def test_health_reflection_and_metrics_are_served(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing", metrics_listen=LOOPBACK) as running:
        await running.stub.RemoveBackground(photo(jpeg()))
        url = f"http://127.0.0.1:{running.gateway.exposition.port}/metrics"
        text = (await asyncio.to_thread(urllib.request.urlopen, url)).read().decode()
        assert 'grpc_server_handled_total{grpc_code="OK",grpc_method="RemoveBackground"' in text
        stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
        asked = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        services = {s.name async for answer in asked for s in answer.list_services_response.service}
        assert {"matting.v1.MattingService", "grpc.health.v1.Health"} <= services


async def test_a_gateway_without_any_triton_is_not_serving_and_says_unavailable(free_port: int) -> None:
    async with running_gateway(f"127.0.0.1:{free_port}", serving=False, default_model="nothing") as running:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await running.stub.RemoveBackground(photo(jpeg()))
        assert reason_of(failed.value) == "BACKEND_UNAVAILABLE"
        await wait_serving(running.channel, serving=False)


async def test_a_unix_socket_serves_as_well(triton_server: LocalTriton, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/gateway.sock"
    async with (
        running_gateway(triton_server.grpc_address, default_model="nothing", listen=(LOOPBACK, address)),
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = pb_grpc.MattingServiceStub(channel)  # type: ignore[no-untyped-call]  # generated without types
        assert (await stub.RemoveBackground(photo(jpeg()))).outputs[0].width_px == 640


async def test_a_drain_answers_what_was_accepted_and_sends_what_is_new_elsewhere(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        accepted = [asyncio.ensure_future(running.stub.RemoveBackground(photo(jpeg(2000, 1500)))) for _ in range(8)]
        while running.gateway.statistics().call_count < 8:  # noqa: ASYNC110 - gives way until the calls have arrived
            await asyncio.sleep(0)
        drain = asyncio.create_task(running.gateway.drain())

        async def call_until_sent_away() -> None:
            while True:
                await running.stub.RemoveBackground(photo(jpeg()))

        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call_until_sent_away()
        assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
        assert all(a.outputs for a in await asyncio.gather(*accepted))
        await drain


async def test_an_open_stream_ends_at_a_drain_with_its_items_answered(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        stream = running.stub.StreamRemoveBackground()
        await stream.write(pb.StreamRemoveBackgroundRequest(item_id="a", request=photo(jpeg())))
        while not running.metric("matting_batch_size_count", model="nothing"):  # noqa: ASYNC110 - gives way until it is in work
            await asyncio.sleep(0)
        await running.gateway.drain()
        assert (await stream.read()).WhichOneof("result") == "response"
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await stream.read()
        assert reason_of(failed.value) == "DRAINING"


async def test_a_caller_that_leaves_while_waiting_frees_its_place_and_is_never_sent(
    triton_server: LocalTriton,
) -> None:
    """The slow model takes one photo at a time; the pool lets it have two."""
    async with running_gateway(triton_server.grpc_address, default_model="slow_matting") as running:
        calls = [running.stub.RemoveBackground(photo(jpeg())) for _ in range(6)]
        while running.gateway.scheduler.statistics().waiting_count < 4:  # noqa: ASYNC110 - gives way until they wait
            await asyncio.sleep(0)
        for call in calls:
            call.cancel()
        await idle(running)
        assert running.metric("matting_resident_bytes") == 0
        assert running.gateway.scheduler.statistics().waiting_count == 0
        assert running.metric("matting_batch_size_sum", model="slow_matting") <= 2


async def test_a_log_line_tells_the_call_and_nothing_of_the_photo(triton_server: LocalTriton) -> None:
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        await running.stub.RemoveBackground(photo(jpeg()), metadata=(("x-request-id", "line-1"),))
        with pytest.raises(grpc.aio.AioRpcError):
            await running.stub.RemoveBackground(photo(b"SECRET-CONTENT"), metadata=(("x-request-id", "line-2"),))
    lines = {
        line["request_id"]: line
        for line in map(json.loads, running.log.getvalue().splitlines())
        if line["event"] == "call" and line["request_id"].startswith("line")
    }
    assert (lines["line-1"]["code"], lines["line-2"]["reason"]) == ("OK", "IMAGE_UNREADABLE")
    assert lines["line-1"]["peer"] == "127.0.0.0/24"
    assert "SECRET" not in running.log.getvalue()
