# SPDX-License-Identifier: Apache-2.0
"""What `matting` says where no gateway is, not the one meant, or one that cannot serve yet: once, and what to do."""

import asyncio
import http.server
import json
import signal
import socket
import struct
import threading
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import grpc
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_gateway.rpc.settings import TlsSettings
from testkit.certificates import Authority, replace
from testkit.fake_gateway import OK, Failure, FakeGateway, make_answer
from testkit.fake_triton import FakeTriton
from testkit.gateway import RunningGateway, running_gateway
from testkit.halves import plain_photo
from testkit.matting_program import PROGRAM, environment, run, run_on_terminal, start
from testkit.wire_siege import photo_model

NOBODY = "127.0.0.1:1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for name in "abcdef":
        (tmp_path / f"photos/{name}.png").write_bytes(plain_photo())
    return tmp_path


async def told(*words: str, server: str, folder: Path) -> tuple[int, list[str]]:
    """Run the program beside a gateway of this process; return its exit code and the lines on standard error."""
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        *words,
        env=environment(server),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, lines = await process.communicate()
    assert process.returncode is not None
    return process.returncode, lines.decode().splitlines()


@pytest.mark.parametrize(
    ("server", "named"),
    [
        (NOBODY, NOBODY),
        ("127.0.0.1:1,127.0.0.1:2", "127.0.0.1:1, 127.0.0.1:2"),
        ("unix:gone.sock", "unix:gone.sock (there is no such socket)"),
        ("no-such-host.invalid:50051", "no-such-host.invalid:50051 (the name no-such-host.invalid is not known)"),
    ],
)
def test_nobody_there_is_said_once_with_what_to_do(server: str, named: str, folder: Path) -> None:
    line = f"no gateway answered at {named}; is it running? --server names another"
    done = run("cutout", "photos", "-o", "out", server=server, folder=folder)
    assert done.returncode == 3
    assert done.stderr.decode().splitlines()[0] == f"matting cutout: {line}"
    assert done.stderr.count(b"\n") == 2  # and how many were done
    assert not (folder / "out").exists()
    done = run("models", server=server, folder=folder)
    assert (done.returncode, done.stderr.decode()) == (3, f"matting models: {line}\n")


async def test_tls_against_plaintext_is_named_as_such(folder: Path) -> None:
    async with running_gateway(NOBODY, serving=False) as running:
        for words in (("policy", "--tls"), ("cutout", "photos/a.png", "-o", "x.png", "--tls")):
            code, lines = await told(*words, server=running.address, folder=folder)
            why = f"the gateway at {running.address} speaks plaintext, not TLS: leave the --tls options out"
            assert (code, lines) == (3, [f"matting {words[0]}: {why}"])


@asynccontextmanager
async def gateway_with_tls(folder: Path, *, mutual: bool) -> AsyncIterator[RunningGateway]:
    """Run a gateway whose certificate is for 127.0.0.1; the authority is in `ca.pem`."""
    authority = Authority()
    replace(folder / "ca.pem", authority.certificate)
    certificate, key = authority.issue("gateway", names=("127.0.0.1",)).write(folder, "server")
    tls = TlsSettings(certificate, key, folder / "ca.pem" if mutual else None)
    async with running_gateway(NOBODY, serving=False, tls=tls) as running:
        yield running


async def test_what_is_wrong_with_tls_is_named(folder: Path) -> None:
    replace(folder / "stranger.pem", Authority("stranger").certificate)
    async with gateway_with_tls(folder, mutual=False) as running:
        expected = {
            (): f"the gateway at {running.address} speaks TLS: give --tls, or --tls-ca FILE",
            ("--tls-ca", "stranger.pem"): f"the certificate of {running.address} is not accepted",
            ("--tls-ca", "ca.pem", "--tls-server-name", "other"): "--tls-server-name the name that it carries",
        }
        for options, words in expected.items():
            code, lines = await told("policy", *options, server=running.address, folder=folder)
            assert (code, len(lines)) == (3, 1), lines
            assert words in lines[0]
        assert (await told("policy", "--tls-ca", "ca.pem", server=running.address, folder=folder))[0] == 0


async def test_a_gateway_that_wants_a_certificate_says_so(folder: Path) -> None:
    async with gateway_with_tls(folder, mutual=True) as running:
        code, lines = await told("policy", "--tls-ca", "ca.pem", server=running.address, folder=folder)
    assert (code, len(lines)) == (3, 1)
    assert "asks for a client certificate: give --tls-cert and --tls-key" in lines[0]


@contextmanager
def web_server() -> Iterator[str]:
    """Listen as something that answers in HTTP/1.1."""

    class Quiet(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_files_for_tls_are_looked_at_before_anything_is_sent(folder: Path) -> None:
    done = run("policy", "--tls-ca", "gone.pem", server=NOBODY, folder=folder)
    assert (done.returncode, done.stderr) == (2, b"matting policy: --tls-ca gone.pem: No such file or directory\n")
    (folder / "no.pem").write_text("not a certificate")
    done = run("policy", "--tls-ca", "no.pem", server=NOBODY, folder=folder)
    assert done.returncode == 2
    assert done.stderr.startswith(b"matting policy: --tls-ca no.pem: nothing that can be read as PEM")


async def test_a_triton_that_is_still_loading_is_waited_for(folder: Path) -> None:
    """The model comes while the program waits, which is said once and not for each photo."""
    triton = FakeTriton()
    triton.unready["u2net"] = ("LOADING", "")
    async with triton, running_gateway(triton.address, serving=False) as running:
        process = await asyncio.create_subprocess_exec(
            PROGRAM, "cutout", "photos", "-o", "out", env=environment(running.address), cwd=folder,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stderr is not None
        first = (await process.stderr.readline()).decode()
        assert first.startswith("waiting, for at most 60 s (--timeout): ")
        model = photo_model()
        triton.unready.clear()
        triton.models[model.config.name] = model
        rest = (await process.stderr.read()).decode()
        assert (await process.wait(), rest) == (0, "6 of 6 done\n")


async def test_a_triton_that_does_not_come_is_waited_for_until_the_timeout(folder: Path) -> None:
    async with running_gateway(NOBODY, serving=False) as running:
        words = ("cutout", "photos", "-o", "out", "--timeout", "2.5", "--concurrency", "2")
        code, lines = await told(*words, server=running.address, folder=folder)
    assert code == 1
    assert lines[0].startswith("waiting, for at most 2.5 s (--timeout): No backend can serve the model now")
    assert "[BACKEND_UNAVAILABLE]" in lines[1]
    assert "wait longer by --timeout" in lines[1]
    assert lines[2:] == ["0 of 6 done, 4 not tried"]


async def test_a_model_that_is_not_there_is_said_once_with_those_that_are(folder: Path) -> None:
    async with FakeTriton(photo_model()) as triton, running_gateway(triton.address) as running:
        words = ("cutout", "photos", "-o", "out", "--model", "u2nte")
        code, lines = await told(*words, server=running.address, folder=folder)
    assert code == 1
    assert "did you mean u2net? Served: u2net." in lines[0]
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("reason", "code", "advice"),
    [
        ("CREDENTIALS_MISSING", grpc.StatusCode.UNAUTHENTICATED, "give --token TOKEN or @FILE"),
        ("CREDENTIALS_INVALID", grpc.StatusCode.UNAUTHENTICATED, "look at --token"),
        ("PERMISSION_DENIED", grpc.StatusCode.PERMISSION_DENIED, "`matting models` lists"),
    ],
)
def test_what_befalls_every_photo_is_said_once_and_ends_the_work(
    reason: str, code: grpc.StatusCode, advice: str, folder: Path
) -> None:
    with FakeGateway() as gateway:
        gateway.script(*[Failure(reason, code, "No.")] * 6)
        done = run("cutout", "photos", "-o", "out", "--server-side", server=gateway.address, folder=folder)
        assert 1 <= len(gateway.calls) <= 4
    assert done.returncode == 1
    (line, counts) = done.stderr.decode().splitlines()
    assert line.startswith(f"matting cutout: No. [{reason}]; {advice}")
    assert counts.startswith("0 of 6 done")


def test_a_gateway_that_goes_away_in_the_middle_is_said_to_have(folder: Path) -> None:
    words = ("cutout", "photos", "-o", "out", "--server-side", "--concurrency", "1", "--timeout", "1.5", "--json")
    with FakeGateway() as gateway:
        gateway.script(OK, *[Failure("", grpc.StatusCode.UNAVAILABLE, "Socket closed")] * 40)
        done = run(*words, server=gateway.address, folder=folder)
    assert done.returncode == 3
    assert "the gateway stopped answering" in done.stderr.decode()
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == [
        "done",
        "failed",
        *["not tried"] * 4,
    ]


def test_something_else_that_listens_is_no_gateway(folder: Path) -> None:
    with web_server() as address:
        done = run("models", server=address, folder=folder)
        assert done.returncode == 3
        assert b"is no gateway: it does not speak gRPC" in done.stderr
        done = run("models", "--tls", server=address, folder=folder)
        assert done.returncode == 3
        assert done.stderr.count(b"\n") == 1


def test_ctrl_c_ends_a_question_too(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        program = start("models", server=address, folder=folder)
        connection, _ = silent.accept()
        program.send_signal(signal.SIGINT)
        said = program.communicate()[1]
        connection.close()
    assert (program.returncode, said) == (130, b"interrupted\n")


def test_words_of_a_hostile_server_do_nothing_to_a_terminal(folder: Path) -> None:
    clear = "\x1b[2J\x1b]0;owned\x07gone\nmatting cutout: all is well\r"
    model = pb.Model(name=f"u2net{clear}", versions=["1"])
    with FakeGateway(models=[model]) as gateway:
        gateway.script(Failure("IMAGE_UNREADABLE", grpc.StatusCode.INVALID_ARGUMENT, clear))
        _, seen = run_on_terminal("cutout", "photos/a.png", "-o", "x.png", server=gateway.address, folder=folder)
        assert not set(seen) & {"\x1b", "\x07", "\r"}
        assert [line for line in seen.splitlines() if "all is well" in line] == [
            line for line in seen.splitlines() if line.startswith("photos/a.png: ")
        ]
        _, seen = run_on_terminal("models", server=gateway.address, folder=folder)
        assert not set(seen) & {"\x1b", "\x07", "\r"}
        assert "all is well" in seen.splitlines()[0]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (pb.RemoveBackgroundResponse(), "the server answered without a result"),
        (pb.RemoveBackgroundResponse(outputs=[pb.Output()]), "the server answered with an empty file"),
    ],
)
def test_an_answer_without_a_file_is_a_failure_and_no_empty_file(
    answer: pb.RemoveBackgroundResponse, told: str, folder: Path
) -> None:
    with FakeGateway(answer=lambda _: answer) as gateway:
        done = run("cutout", "photos/a.png", "-o", "x.png", server=gateway.address, folder=folder)
    assert (done.returncode, done.stderr.decode()) == (1, f"photos/a.png: {told}\n")
    assert not (folder / "x.png").exists()


def test_an_alpha_that_is_too_large_to_be_one_is_left_to_the_server_to_use(folder: Path) -> None:
    """A bomb: a picture of 10 gigapixels in a few bytes."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(header)) + chunk + struct.pack(">I", zlib.crc32(chunk))

    def answer(request: pb.RemoveBackgroundRequest) -> pb.RemoveBackgroundResponse:
        response = make_answer(request)
        if request.outputs[0].kind == pb.OUTPUT_KIND_ALPHA:
            response.outputs[0].encoded.content = bomb
            response.outputs[0].refinement_applied = pb.REFINEMENT_NONE
        return response

    with FakeGateway(answer=answer) as gateway:
        done = run("cutout", "photos/a.png", "-o", "x.png", server=gateway.address, folder=folder)
    assert done.returncode == 0
    assert b"finished by the server: the alpha that came cannot be read" in done.stderr
