# SPDX-License-Identifier: Apache-2.0
"""The program `matting-load` as a person runs it: what it refuses, what it says, and how it ends."""

import contextlib
import csv
import json
import os
import pty
import re
import signal
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from testkit.certificates import Authority
from testkit.fake_gateway import Failure, FakeGateway, Hold

PROGRAM = [sys.executable, "-c", "import sys, matting_programs; sys.exit(matting_programs.load())"]
SMALL = ["--sizes", "32x32"]


def load(*arguments: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=timeout_s)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway() as server:
        yield server


@contextmanager
def another_program() -> Iterator[str]:
    """Something that listens, speaks no gRPC and no TLS, and ends every connection."""

    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"220 mail here\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    "command",
    [
        ["run", "--callers", "8", "--duration", "30"],
        ["run", "--callers", "8", "--duration", "30", "--processes", "2"],
        ["run", "--rate", "1000", "--duration", "30", "--target", "tensors"],
        ["run", "--callers", "8", "--duration", "30", "--target", "rembg"],
        ["search", "--deadline-ms", "300"],
    ],
)
def test_a_closed_port_is_sent_nothing_and_said_so(command: list[str]) -> None:
    done = load(*command, "--address", "127.0.0.1:1", *SMALL, timeout_s=20)
    assert done.returncode == 3
    assert done.stderr == (
        f"matting-load {command[0]}: no server answered at 127.0.0.1:1; is it running? --address names another\n"
    )
    assert "offered" not in done.stdout


@pytest.mark.parametrize(
    ("address", "why"), [("nowhere.invalid:1", "not known"), ("unix:/nowhere/socket", "no such socket")]
)
def test_a_place_that_is_not_there_is_said_so(address: str, why: str) -> None:
    done = load("run", "--callers", "1", "--address", address, *SMALL)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert address in done.stderr
    assert why in done.stderr


def test_what_speaks_otherwise_is_named(gateway: FakeGateway, tmp_path: Path) -> None:
    authority = Authority("test")
    issued = authority.issue("gateway", names=("gateway.example",))
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(authority.certificate)
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Authority("stranger").certificate)
    credentials = grpc.ssl_server_credentials([(issued.key, issued.certificate)])
    run = ["run", "--callers", "1", "--duration", "0.2", *SMALL, "--address"]
    with FakeGateway(credentials=credentials) as secure, another_program() as other:
        for arguments, told in (
            ([secure.address], "speaks TLS"),
            ([gateway.address, "--tls-ca", str(ca_file)], "speaks plaintext, not TLS"),
            ([secure.address, "--tls-ca", str(stranger)], "is not accepted"),
            ([secure.address, "--tls-ca", str(ca_file)], "--tls-server-name"),
            ([other], "does not speak gRPC"),
        ):
            done = load(*run, *arguments)
            assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
            assert told in done.stderr
        assert (
            load(*run, secure.address, "--tls-ca", str(ca_file), "--tls-server-name", "gateway.example").returncode == 0
        )


def test_a_server_that_goes_away_is_not_hammered_and_used_again(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    with FakeGateway() as first:
        first.script(*(Hold(threading.Event()) for _ in range(4)))
        arguments = ["run", "--callers", "4", "--duration", "5", "--address", first.address, *SMALL, "-q"]
        program = subprocess.Popen([*PROGRAM, *arguments, "--json", str(report)], stdout=subprocess.PIPE, text=True)
        for _ in range(4):
            assert first.arrived.acquire(timeout=20)
    # It is gone in the middle of four calls; once they have failed, and callers wait, another is there.
    with FakeGateway(address=first.address) as second:
        assert second.arrived.acquire(timeout=20)
        told, _ = program.communicate(timeout=30)
    assert program.returncode == 0
    outcomes = {each["name"]: each for each in json.loads(report.read_text())["total"]["outcomes"]}
    assert outcomes["ok"]["count"] > 1
    # Four callers, four times a second at the most.
    assert 4 <= outcomes["UNAVAILABLE"]["count"] <= 80
    assert outcomes["UNAVAILABLE"]["messages"]
    assert f"UNAVAILABLE: {outcomes['UNAVAILABLE']['messages'][0]}" in told


def test_a_threshold_that_came_true_ends_with_4(gateway: FakeGateway, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run = ["run", "--rate", "40", "--duration", "0.5", "--address", gateway.address, *SMALL, "--html", str(page), "-q"]
    held = load(*run, "--fail-if", "p99_ms>60000", "--fail-if", "in_time_share<0.01")
    assert held.returncode == 0
    assert "passed: fail if p99_ms > 60000; it is " in held.stdout
    missed = load(*run, "--fail-if", "p99_ms>60000", "--fail-if", "p99_ms>0.001")
    assert missed.returncode == 4
    assert "failed: fail if p99_ms > 0.001; it is " in missed.stdout
    assert re.search(r"<th>failed</th><td[^>]*>fail if p99_ms &gt; 0.001", page.read_text())


def test_what_is_no_threshold_is_told_before_anything_is_sent(gateway: FakeGateway) -> None:
    run = ["run", "--callers", "1", "--address", gateway.address, *SMALL]
    done = load(*run, "--fail-if", "p98>250")
    assert done.returncode == 2
    assert "there is no figure 'p98'" in done.stderr
    assert "in_time_share" in done.stderr
    listed = load("run", "--fail-if", "help")
    assert listed.returncode == 0
    assert "generator_cpu_share" in listed.stdout
    assert gateway.calls == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--html", "{tmp}"], "is a folder"),
        (["--json", "{tmp}/gone/report.json"], "there is no folder"),
        (["--csv", "{tmp}/gone/report.csv"], "there is no folder"),
        (["--token", "@{tmp}/gone"], "gone"),
        (["--token", "@/dev/null"], "is empty"),
        (["--address", "127.0.0.1"], "HOST:PORT"),
        (["--token", "secret", "--address", "192.0.2.1:50051"], "the token would travel readable"),
    ],
)
def test_what_would_fail_in_the_end_fails_before_anything_is_sent(
    gateway: FakeGateway, tmp_path: Path, arguments: list[str], told: str
) -> None:
    given = [each.format(tmp=tmp_path) for each in arguments]
    done = load("run", "--callers", "1", "--duration", "9", "--address", gateway.address, *SMALL, *given, timeout_s=20)
    assert done.returncode in (1, 2)
    assert told in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert gateway.calls == []


def test_several_addresses_take_calls_in_turn(gateway: FakeGateway) -> None:
    run = ["run", "--rate", "40", "--constant", "--duration", "1", *SMALL, "--address", gateway.address, "-q"]
    with FakeGateway() as other:
        assert load(*run, "--address", other.address).returncode == 0
        assert len(gateway.calls) == len(other.calls) == 20
    done = load(*run, "--address", other.address)
    assert done.returncode == 3
    assert f"no server answered at {other.address}; is it running?" in done.stderr
    assert len(gateway.calls) == 20


def test_what_servers_say_of_failures_is_sampled_by_reason(gateway: FakeGateway, tmp_path: Path) -> None:
    exhausted = grpc.StatusCode.RESOURCE_EXHAUSTED
    gateway.script(
        *(
            Failure(
                "OVERLOADED", exhausted, f"{number} photos wait for {['memory', 'places', 'Triton', 'you'][number % 4]}"
            )
            for number in range(20)
        ),
        Failure("IMAGE_UNREADABLE", grpc.StatusCode.INVALID_ARGUMENT, "<script>alert(1)</script>[/]" + "x" * 1_500),
    )
    page = tmp_path / "page.html"
    arguments = ["--rate", "60", "--constant", "--duration", "1", "--address", gateway.address, "--html", str(page)]
    done = load("run", *arguments, *SMALL, "-q")
    assert done.returncode == 0
    told = set(re.findall(r"OVERLOADED: (\d+ photos wait for \w+)", done.stdout))
    assert len(told) == 3
    assert "<script>" in done.stdout
    text = page.read_text()
    assert all(f"<small>{message}</small>" in text for message in told)
    assert "&lt;script&gt;" in text
    assert "<script" not in text
    assert "x" * 400 not in text + done.stdout


def test_a_token_is_read_from_a_file(gateway: FakeGateway, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("mine\n")
    run = ["run", "--callers", "1", "--duration", "0.2", "--address", gateway.address, *SMALL]
    assert load(*run, "--token", f"@{tmp_path / 'token'}").returncode == 0
    assert gateway.calls[0].metadata["authorization"] == "Bearer mine"


def test_figures_go_to_csv_and_runs_are_called_by_what_differs(gateway: FakeGateway, tmp_path: Path) -> None:
    one, two, table, page = (str(tmp_path / name) for name in ("one.json", "two.json", "both.csv", "both.html"))
    run = ["run", "--duration", "0.3", "--address", gateway.address, *SMALL, "-q"]
    assert load(*run, "--callers", "1", "--json", one, "--csv", table).returncode == 0
    with Path(table).open() as file:
        (row,) = csv.DictReader(file)
    assert (row["row"], row["in_time_share"]) == ("total", "1")
    assert float(row["p99_ms"]) >= float(row["p50_ms"]) > 0
    assert load(*run, "--callers", "3", "--json", two).returncode == 0
    done = load("compare", one, two, "-o", page, "--csv", table)
    assert done.returncode == 0
    assert done.stdout == f"wrote {page}\nwrote {table}\n"
    assert "<title>2 runs compared: 1 caller, 3 callers</title>" in Path(page).read_text()
    with Path(table).open() as file:
        assert [row["run"] for row in csv.DictReader(file)] == ["1 caller", "3 callers"]
    assert load("compare", one, two).returncode == 2


def test_a_search_shows_its_slo_and_its_verdict(gateway: FakeGateway, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    search = ["search", "--low", "10", "--high", "20", "--trial", "0.3", "--warmup", "0", *SMALL, "-q"]
    search += ["--address", gateway.address, "--html", str(page), "--good-share", "0.9"]
    done = load(*search, "--deadline-ms", "5000", "--p99-ms", "4000")
    assert done.returncode == 0
    assert "the highest rate with at least 90% of calls in time, p99 at most 4000 ms" in done.stdout
    assert done.stderr == ""
    text = page.read_text()
    assert "<th>passed</th>" in text
    assert "SLO: at least 90% of calls in time, p99 at most 4000 ms" in text
    assert "highest rate: 20/s, and more" in text
    assert f"<title>gateway {gateway.address}: search for the highest rate" in text
    without = load(*search)
    assert "without --deadline-ms or --p99-ms every answer is in time" in without.stderr
    missed = load(*search, "--p99-ms", "0.0001")
    assert missed.returncode == 1
    assert "<th>failed</th>" in page.read_text()
    assert "even 10/s misses" in page.read_text()


def test_answered_and_in_time_are_told_apart(gateway: FakeGateway, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run = ["run", "--steps", "20,40", "--duration", "0.5", "--address", gateway.address, *SMALL, "--html", str(page)]
    done = load(*run)
    assert "answered: a result came. in time: by its deadline, or at all where there is none." in done.stdout
    assert re.search(r"answered/s +in time/s", done.stdout)
    text = page.read_text()
    assert "<b>answered</b>: those that got a result, however late" in text
    assert "goodput" in text
    # Their lines look different, and so do the keys to them.
    assert '<i class="c0 broad"></i>answered' in text
    assert '<i class="c2 points"></i>in time' in text


@pytest.mark.parametrize("more", [["--callers", "2"], ["--rate", "50"], ["--callers", "2", "--processes", "2"]])
def test_ctrl_c_reports_what_was_seen_until_then(gateway: FakeGateway, tmp_path: Path, more: list[str]) -> None:
    report = tmp_path / "report.json"
    arguments = [*PROGRAM, "run", *more, "--duration", "300", "--address", gateway.address, *SMALL]
    with subprocess.Popen(
        [*arguments, "--json", str(report)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        for _ in range(20):
            assert gateway.arrived.acquire(timeout=30)
        program.send_signal(signal.SIGINT)
        told, errors = program.communicate(timeout=30)
    assert (program.returncode, errors) == (130, "")
    assert re.search(r"[\d.]+ s, interrupted", told)
    data = json.loads(report.read_text())
    assert data["interrupted"] is True
    assert data["total"]["duration_s"] < 60
    assert [each["name"] for each in data["total"]["outcomes"]] == ["ok"]
    assert data["plan"]["load"].get("duration_s", 300) == 300


def test_ctrl_c_before_anything_counted_reports_nothing(gateway: FakeGateway) -> None:
    arguments = [*PROGRAM, "run", "--callers", "1", "--duration", "300", "--warmup", "200", *SMALL]
    with subprocess.Popen(
        [*arguments, "--address", gateway.address], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        assert gateway.arrived.acquire(timeout=30)
        program.send_signal(signal.SIGINT)
        told, errors = program.communicate(timeout=30)
    assert (program.returncode, told) == (130, "")
    assert errors == "matting-load run: interrupted, nothing is reported\n"


def test_ctrl_c_on_a_terminal_ends_all_processes_and_reports(gateway: FakeGateway) -> None:
    # The first terminal that a session opens is its own.
    program_there = f"import os; os.open(os.ttyname(0), os.O_RDWR); {PROGRAM[-1]}"
    arguments = ["run", "--callers", "2", "--duration", "300", "--processes", "2", *SMALL]
    terminal, theirs = pty.openpty()
    program = subprocess.Popen(
        [*PROGRAM[:-1], program_there, *arguments, "--address", gateway.address],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    for _ in range(20):
        assert gateway.arrived.acquire(timeout=30)
    # As a person does: the terminal sends it to the program and to its sending processes.
    os.write(terminal, b"\x03")
    seen = b""
    with contextlib.suppress(OSError):  # how a terminal tells that nobody has it open any more
        while part := os.read(terminal, 65536):
            seen += part
    os.close(terminal)
    assert program.wait(timeout=30) == 130
    assert b"in time" in seen
    assert b", interrupted" in seen
    assert b"Traceback" not in seen, seen.decode()


def test_nothing_answered_is_said(gateway: FakeGateway) -> None:
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    gateway.script(*(Failure("OPTION_INVALID", invalid, "there is no model nowhere") for _ in range(200)))
    done = load("run", "--rate", "20", "--constant", "--duration", "0.5", "--address", gateway.address, *SMALL)
    assert (done.returncode, done.stderr) == (1, "matting-load run: no call was answered\n")
    assert "OPTION_INVALID: there is no model nowhere" in done.stdout
