# SPDX-License-Identifier: Apache-2.0
"""The examples in other languages: programs of their own against the real gateway, Connect's through the real Envoy."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matting_client import Client, OutputSpec
from matting_triton.local import LocalTriton
from PIL import Image
from testkit.certificates import Authority
from testkit.envoy import running_envoy
from testkit.fake_triton import FakeModel, FakeTriton
from testkit.foreign_clients import MissingError, Outcome, go_example, outcome_of, typescript_example
from testkit.name_server import NameServer
from testkit.photos import sample_photo
from testkit.program import Service, running_service
from testkit.tenants import photo, table
from testkit.wire_siege import photo_model

SLOW_S = 1.0
MIB = 1 << 20


@dataclass(frozen=True)
class Example:
    """The programs of a language: `command` is given what to do, flags without their dashes, and files."""

    name: str
    command: Callable[[str, dict[str, str], list[Path]], list[str]]

    async def run(self, what: str, address: str, *files: Path, **more: str) -> Outcome:
        flags = {"address": address} | {flag.replace("_", "-"): value for flag, value in more.items()}
        return await outcome_of(*self.command(what, flags, list(files)), environment={"GRPC_GO_RETRY": "on"})


def node(protocol: str) -> Example:
    programs = typescript_example() / protocol

    def command(what: str, flags: dict[str, str], files: list[Path]) -> list[str]:
        given = [part for flag, value in flags.items() for part in (f"--{flag}", value)]
        return ["node", str(programs / f"{what}.js"), *given, *map(str, files)]

    return Example(protocol, command)


def go() -> Example:
    program = go_example()

    def command(what: str, flags: dict[str, str], files: list[Path]) -> list[str]:
        if timeout_s := flags.pop("timeout-s", None):
            flags["timeout"] = f"{timeout_s}s"
        given = [part for flag, value in flags.items() for part in (f"-{flag}", value)]
        return [str(program), *given, what, *map(str, files)]

    return Example("go", command)


MAKERS: dict[str, Callable[[], Example]] = {
    "grpc-js": lambda: node("grpc"),
    "connect": lambda: node("connect"),
    "go": go,
}


@pytest.fixture(scope="session", params=MAKERS)
def example(request: pytest.FixtureRequest) -> Example:
    try:
        return MAKERS[request.param]()
    except MissingError as exc:
        pytest.skip(str(exc))


@asynccontextmanager
async def reached(
    example: Example, *arguments: str, shown: tuple[Path, Path] | None = None
) -> AsyncIterator[tuple[Service, str]]:
    """Run the gateway, and for Connect an Envoy before it; yield it and where the example has to call.

    Who is called there shows a certificate and has its key, where these files are given.
    """
    by_envoy = example.name == "connect"
    tls = [] if by_envoy or shown is None else ["--tls-certificate", str(shown[0]), "--tls-key", str(shown[1])]
    async with running_service(*arguments, *tls, serving=not tls) as service:
        if tls:
            await service.events_named("serving")
        if not by_envoy:
            yield service, service.address
            return
        host, _, port = service.address.rpartition(":")
        change = (lambda config: show(config, shown)) if shown else (lambda _: None)
        async with NameServer("matting-gateway", host) as names, running_envoy(names, int(port), change) as envoy:
            yield service, envoy.address


def show(config: dict[str, Any], shown: tuple[Path, Path]) -> None:
    """Have an Envoy speak TLS to callers."""
    (listener,) = config["static_resources"]["listeners"]
    (chain,) = listener["filter_chains"]
    files = {"certificate_chain": {"filename": str(shown[0])}, "private_key": {"filename": str(shown[1])}}
    context = {"tls_certificates": [files], "alpn_protocols": ["h2"]}
    kind = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
    typed = {"@type": kind, "common_tls_context": context}
    chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": typed}


def photo_file(path: Path, width_px: int, height_px: int) -> Path:
    Image.fromarray(sample_photo(width_px, height_px)).save(path)
    return path


def noise_file(path: Path, width_px: int, height_px: int) -> Path:
    """Write a picture that no encoding makes smaller."""
    noise = np.random.default_rng(0).integers(0, 256, (height_px, width_px, 3), np.uint8)
    Image.fromarray(noise).save(path, compress_level=0)
    return path


def pythons_cutout(address: str, file: Path) -> bytes:
    with Client(address) as client:
        return client.remove_background(file, [OutputSpec(kind="cutout")]).output.content


async def refused_count(service: Service, code: str) -> float:
    samples = await service.metrics()
    return sum(
        value
        for (name, labels), value in samples.items()
        if name == "grpc_server_handled_total"
        and {("grpc_code", code), ("grpc_method", "RemoveBackground")} <= set(labels)
    )


@pytest.mark.triton
async def test_cutouts_are_those_of_pythons_client(
    example: Example, triton_server: LocalTriton, tmp_path: Path
) -> None:
    # Larger than what gRPC's clients take and Envoy's bridge holds unless they are told to.
    file, result = noise_file(tmp_path / "cat.png", 2600, 2000), tmp_path / "cutout.png"
    small = [photo_file(tmp_path / f"{number}.jpg", 320, 200 + number) for number in range(6)]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no photo")
    arguments = ("--triton", triton_server.grpc_address, "--default-model", "nothing")
    async with reached(example, *arguments) as (service, address):
        alone = await example.run("cutout", address, file, result)
        together = await example.run("stream", address, tmp_path / "out", *small, broken)
        wanted = [await asyncio.to_thread(pythons_cutout, service.address, path) for path in (file, *small)]
    assert (alone.code, alone.errors) == (0, "")
    assert len(wanted[0]) > 16 * MIB
    assert result.read_bytes() == wanted[0]
    assert [(tmp_path / "out" / f"{path.stem}.png").read_bytes() for path in small] == wanted[1:]
    assert together.code == 1
    assert "broken.jpg: IMAGE_UNREADABLE: " in together.errors


async def test_a_call_comes_back_when_the_gateway_says_so(example: Example, tmp_path: Path) -> None:
    # More than is kept for another attempt unless told so.
    file = noise_file(tmp_path / "cat.png", 700, 600)
    assert file.stat().st_size > MIB
    tenants = tmp_path / "tenants.toml"
    tenants.write_text(table("shop", "requests_per_second = 0.5"))
    async with (
        FakeTriton(photo_model()) as triton,
        reached(example, "--triton", triton.address, "--tenants", str(tenants)) as (service, address),
    ):
        outcomes = await asyncio.gather(
            *(example.run("cutout", address, file, tmp_path / f"{n}.png", token="token-shop") for n in range(2))
        )
        assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
        # By its own times one that knew no better would have been here three times before.
        assert await refused_count(service, "RESOURCE_EXHAUSTED") in (1, 2)
        stranger = await example.run("cutout", address, file, tmp_path / "none.png", token="nobody's")
    assert stranger.code == 1
    assert stranger.errors.startswith("CREDENTIALS_INVALID: ")


def slow_model() -> FakeModel:
    model = photo_model()
    answer = model.answer

    async def slowly(request: Any) -> Any:
        await asyncio.sleep(SLOW_S)
        return await answer(request)

    model.answer = slowly
    return model


async def test_the_gateway_knows_the_deadline_and_refuses_what_cannot_be_done_in_time(
    example: Example, tmp_path: Path
) -> None:
    file = photo_file(tmp_path / "cat.jpg", 320, 240)
    async with (
        FakeTriton(slow_model()) as triton,
        reached(example, "--triton", triton.address) as (service, address),
    ):
        for _ in range(4):  # how slow the model is has to be learned
            await service.stub.RemoveBackground(photo(), timeout=30)
        # Of several in a hurry one may be the try that shows whether the model is still slow.
        late = await asyncio.gather(
            *(
                example.run("cutout", address, file, tmp_path / f"{n}.png", timeout_s=f"{0.8 * SLOW_S}")
                for n in range(3)
            )
        )
    assert {outcome.code for outcome in late} == {1}
    assert any(outcome.errors.startswith("DEADLINE_UNREACHABLE: ") for outcome in late), late


async def test_a_stream_whose_gateway_dies_says_which_photos_have_no_answer(example: Example, tmp_path: Path) -> None:
    files = [photo_file(tmp_path / f"{number}.jpg", 320, 240) for number in range(3)]
    async with (
        FakeTriton(slow_model()) as triton,
        reached(example, "--triton", triton.address) as (service, address),
    ):
        running = asyncio.create_task(example.run("stream", address, tmp_path / "out", *files))
        await triton.wait_for_requests(1)
        service.process.send_signal(signal.SIGKILL)
        outcome = await running
    assert outcome.code == 1
    assert "DEADLINE_EXCEEDED" not in outcome.errors
    assert outcome.errors.rstrip().endswith(f"unanswered: {', '.join(map(str, files))}")


async def test_over_tls_the_gateway_has_to_be_one_of_the_authority(example: Example, tmp_path: Path) -> None:
    authority, stranger = Authority(), Authority("stranger")
    for name, one in (("ca", authority), ("stranger", stranger)):
        (tmp_path / f"{name}.crt").write_bytes(one.certificate)
    shown = authority.issue("gateway").write(tmp_path, "gateway")
    file, result = photo_file(tmp_path / "cat.jpg", 320, 240), tmp_path / "cat.png"
    async with (
        FakeTriton(photo_model()) as triton,
        reached(example, "--triton", triton.address, shown=shown) as (_service, address),
    ):
        named = address.replace("127.0.0.1", "localhost")
        good = await example.run("cutout", named, file, result, tls_ca=str(tmp_path / "ca.crt"))
        wrong = await example.run("cutout", named, file, result, tls_ca=str(tmp_path / "stranger.crt"), timeout_s="5")
    assert (good.code, good.errors) == (0, "")
    assert wrong.code == 1
    assert "certificate" in wrong.errors
