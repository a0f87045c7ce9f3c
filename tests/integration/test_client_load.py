# SPDX-License-Identifier: Apache-2.0
"""Load tests against real servers of each kind, and the program `matting-load`."""

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import matting_load
import pytest
from aiohttp import web
from matting_load import (
    ClosedLoop,
    DeadlineClass,
    GatewayTarget,
    OpenLoop,
    Photos,
    PhotoSize,
    Plan,
    RembgTarget,
    Replay,
    TensorTarget,
    steady,
)
from matting_load.cli import main
from matting_load.limit import find_limit
from matting_load.sending.reaching import UnreachableError
from matting_load.sending.records import Tally
from testkit.fake_gateway import Failure, FakeGateway
from tritonclient.grpc import service_pb2

Forms = list[dict[str, object]]

SMALL = Photos((PhotoSize(32, 32),))


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        yield server


def outcomes(report: matting_load.Report) -> dict[str, int]:
    return {each.name: each.count for each in report.total.outcomes}


async def test_a_gateway_is_asked_as_its_clients_ask(gateway: FakeGateway) -> None:
    gateway.script(
        Failure("OVERLOADED", grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after_s=1.0),
        Failure("", grpc.StatusCode.UNAVAILABLE),
    )
    plan = Plan(
        GatewayTarget(gateway.address, model="u2net", output="cutout", mime_type="image/webp", token="mine"),
        OpenLoop(steady(100, 0.5), "constant"),
        deadlines=(DeadlineClass(5.0),),
        photos=SMALL,
    )
    looks: list[Tally] = []
    report = await matting_load.run_async(plan, looks.append)
    assert outcomes(report) == {"ok": 48, "OVERLOADED": 1, "UNAVAILABLE": 1}
    assert report.total.goodput_per_s == 96
    assert looks
    seen = gateway.calls[0]
    assert seen.request.model.name == "u2net"
    assert seen.request.outputs[0].encoded.mime_type == "image/webp"
    assert seen.metadata["authorization"] == "Bearer mine"
    assert seen.metadata["x-matting-request-bytes"] == str(seen.request.ByteSize())
    assert seen.metadata["x-matting-pixels"] == str(SMALL.sizes[0].width_px * SMALL.sizes[0].height_px)
    assert all(call.timeout_s is not None and call.timeout_s <= 5.1 for call in gateway.calls)
    assert "mine" not in report.to_json()


def test_several_processes_share_the_load(gateway: FakeGateway) -> None:
    plan = Plan(GatewayTarget(gateway.address), Replay((0.0,) * 40), photos=SMALL, processes=2)
    looks: list[Tally] = []
    report = matting_load.run(plan, looks.append)
    assert outcomes(report) == {"ok": 40}
    assert len(gateway.calls) == 40
    assert report.generator.processes == 2


def test_an_error_of_a_process_is_told(tmp_path: Path) -> None:
    plan = Plan(GatewayTarget(), ClosedLoop(1, 1.0), photos=Photos(folder=str(tmp_path)), processes=2)
    with pytest.raises(ValueError, match="holds no photo"):
        matting_load.run(plan)


@asynccontextmanager
async def inference_server(answer: bytes) -> AsyncIterator[tuple[str, list[service_pb2.ModelInferRequest]]]:
    """A server of the Open Inference Protocol that answers always the same."""
    seen: list[service_pb2.ModelInferRequest] = []

    async def infer(request: service_pb2.ModelInferRequest, context: object) -> bytes:
        seen.append(request)
        return answer

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[Any, bytes] = grpc.unary_unary_rpc_method_handler(
        infer, request_deserializer=service_pb2.ModelInferRequest.FromString
    )
    service = grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {"ModelInfer": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}", seen
    finally:
        await server.stop(None)


async def test_an_open_inference_server_is_sent_tensors() -> None:
    answer = service_pb2.ModelInferResponse(raw_output_contents=[b"1234"]).SerializeToString()
    async with inference_server(answer) as (address, seen):
        target = TensorTarget(address, "delay", "INPUT", "FP32", (1, 4), queue_timeout_margin_s=0.1)
        plan = Plan(target, Replay((0.0,) * 5), deadlines=(DeadlineClass(0.5),))
        report = await matting_load.run_async(plan)
    assert outcomes(report) == {"ok": 5}
    assert (seen[0].model_name, seen[0].inputs[0].name, list(seen[0].inputs[0].shape)) == ("delay", "INPUT", [1, 4])
    assert len(seen[0].raw_input_contents[0]) == 16
    assert 0 < seen[0].parameters["timeout"].int64_param <= 400_000


async def test_an_answer_that_is_none_is_no_success() -> None:
    async with inference_server(b"\xff\xff") as (address, _):
        report = await matting_load.run_async(Plan(TensorTarget(address), Replay((0.0,) * 3)))
    assert outcomes(report) == {"malformed_answer": 3}


async def test_an_answer_without_content_is_no_success() -> None:
    async with inference_server(service_pb2.ModelInferResponse(model_name="m").SerializeToString()) as (address, _):
        report = await matting_load.run_async(Plan(TensorTarget(address), Replay((0.0,) * 3)))
    assert outcomes(report) == {"empty_answer": 3}


@asynccontextmanager
async def rembg_server(status: int = 200, *, silent: bool = False) -> AsyncIterator[tuple[str, Forms]]:
    """A server with rembg's form."""
    forms: Forms = []
    ended = asyncio.Event()

    async def remove(request: web.Request) -> web.Response:
        form = await request.post()
        upload = form["file"]
        content = upload.file.read() if isinstance(upload, web.FileField) else b""
        forms.append({"model": form["model"], "om": form["om"], "file": content})
        if silent:
            await ended.wait()
        return web.Response(body=b"png", status=status)

    app = web.Application()
    app.router.add_post("/api/remove", remove)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", forms
    finally:
        ended.set()
        await runner.cleanup()


async def test_rembg_is_posted_its_form(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"content\r\n--of a photo")
    async with rembg_server() as (url, forms):
        plan = Plan(RembgTarget(url), Replay((0.0,) * 3), photos=Photos(folder=str(tmp_path)))
        report = await matting_load.run_async(plan)
    assert outcomes(report) == {"ok": 3}
    assert forms[0] == {"model": "u2net", "om": "true", "file": b"content\r\n--of a photo"}


async def test_failures_of_rembg_have_names() -> None:
    async with rembg_server(500) as (url, _):
        report = await matting_load.run_async(Plan(RembgTarget(url), Replay((0.0,)), photos=SMALL))
        assert outcomes(report) == {"HTTP_500": 1}
    with pytest.raises(UnreachableError, match="is it running"):
        await matting_load.run_async(Plan(RembgTarget(url), Replay((0.0,)), photos=SMALL))
    async with rembg_server(silent=True) as (url, _):
        plan = Plan(RembgTarget(url), Replay((0.0,)), photos=SMALL, deadlines=(DeadlineClass(0.1),))
        assert outcomes(await matting_load.run_async(plan)) == {"no_answer_in_time": 1}


def test_the_program_runs_and_reports(gateway: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--address", gateway.address, "--sizes", "32x32:2,48x32", "--deadline-ms", "500,5000:2"]
    files = ["--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html"), "--label", "mine"]
    assert main(["run", "--steps", "40,80", "--duration", "0.4", "--settle", "0.1", *common, *files]) == 0
    told = capsys.readouterr().out
    for part in ("mine", "40/s", "80/s", "500 ms", "5000 ms", "p99.9 ms", "generator: sent late"):
        assert part in told
    data = json.loads((tmp_path / "a.json").read_text())
    assert data["total"]["offered_count"] == len(gateway.calls)
    assert "<svg" in (tmp_path / "a.html").read_text()
    assert main(["compare", str(tmp_path / "a.json"), str(tmp_path / "a.json"), "-o", str(tmp_path / "b.html")]) == 0
    assert "2 runs compared" in (tmp_path / "b.html").read_text()


@pytest.mark.parametrize(
    "load",
    [["--callers", "2"], ["--rate", "20", "--constant"], ["--ramp", "10:40"], ["--bursts", "40:0.1:0.1"], ["--trace"]],
)
def test_every_kind_of_load_can_be_asked_for(gateway: FakeGateway, tmp_path: Path, load: list[str]) -> None:
    if load == ["--trace"]:
        trace = tmp_path / "trace"
        trace.write_text("0\n0.1\n0.2\n")
        load = ["--trace", str(trace), "--speed", "2"]
    arguments = ["run", *load, "--duration", "0.3", "--address", gateway.address, "--sizes", "32x32", "-q"]
    assert main(arguments) == 0
    assert gateway.calls


def test_a_search_is_run_and_reported(gateway: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", "--low", "10", "--high", "20", "--trial", "0.3", "--warmup", "0", "--sizes", "32x32"]
    files = ["--address", gateway.address, "--html", str(tmp_path / "s.html"), "-q"]
    assert main([*arguments, *files]) == 0
    assert "highest rate: 20/s, and more" in capsys.readouterr().out
    assert main([*arguments, *files, "--p99-ms", "0.000001"]) == 1
    assert "even 10/s misses" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["run", "--address", "x:1"], "one of the arguments"),
        (["run", "--rate", "1", "--callers", "1"], "not allowed with"),
        (["run", "--ramp", "1"], "FROM:TO"),
        (["run", "--bursts", "1:a:2"], "R:ON_S:OFF_S"),
        (["run", "--steps", "1,,2"], "R,R,..."),
        (["run", "--rate", "1", "--deadline-ms", "x"], "--deadline-ms"),
        (["run", "--rate", "1", "--deadline-ms", "0"], "more than 0"),
        (["run", "--rate", "1", "--sizes", "32"], "--sizes"),
        (["run", "--rate", "1", "--target", "tensors", "--tensor", "a:b"], "NAME:TYPE:SHAPE"),
        (["run", "--rate", "1", "--warmup", "99"], "does not fit"),
        (["run", "--callers", "0"], "at least one caller"),
        (["run", "--rate", "1", "--metrics-url", "nonsense", "--duration", "0.1"], "/metrics"),
        (["run", "--rate", "1", "--metrics-url", "http://127.0.0.1:1/metrics"], "no metrics at http://127.0.0.1:1"),
        (["run", "--rate", "inf"], "a million at the most"),
        (["run", "--rate", "1000000", "--duration", "100"], "that is 100,000,000 calls"),
        (["run", "--steps", "1,inf"], "0 or more"),
        (["run", "--ramp", "0:nan"], "0 or more"),
        (["run", "--rate", "1", "--sizes", "0x5"], "1x1 at the least"),
        (["run", "--rate", "1", "--sizes", "99999x99999"], "pixels at the most"),
        (["run", "--rate", "1", "--target", "tensors", "--tensor", "a:UINT8:-1x3"], "1 at the least"),
        (["run", "--rate", "1", "--target", "gatway"], "did you mean gateway?"),
        (["run", "--rte", "1"], "there is no option --rte; did you mean --rate?"),
        (["rnu"], "there is no command rnu; did you mean run?"),
        ([], "say which command"),
        (["run", "--trace", "/gone"], "/gone: No such file"),
        (["compare", "gone.json", "-o", "x.html"], "gone.json"),
        (["search", "--low", "5", "--high", "1"], "low < high"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A file that cannot be read ends with 1, everything else with 2.
    codes = []
    with contextlib.suppress(SystemExit):
        codes.append(main(arguments))
    assert codes in ([], [1])
    errors = capsys.readouterr().err
    assert told in errors
    assert len(errors.splitlines()) == 1


def test_the_generators_own_limit_is_found() -> None:
    trials: list[float] = []

    def judged(plan: Plan) -> matting_load.Report:
        report = matting_load.run(plan)
        # On a busy machine calls may be late at any rate: the judgement is tested by a verdict of its own.
        late = plan.load.segments[0].start_rate > 200 if isinstance(plan.load, OpenLoop) else True
        generator = dataclasses.replace(report.generator, cpu_share=0.9 if late else 0.1, lag_p99_s=0.0)
        return dataclasses.replace(report, generator=generator)

    found = find_limit(
        processes=1,
        connections=1,
        call_bytes=100,
        trial_s=0.3,
        run=judged,
        on_trial=lambda rate, report: trials.append(rate),
    )
    assert trials == [125, 250, 250, 250]
    assert found == 125
