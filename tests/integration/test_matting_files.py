# SPDX-License-Identifier: Apache-2.0
"""`matting cutout` and files as a person has them: pipes, links, results that are there, folders below folders."""

import io
import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from testkit.fake_gateway import OK, FakeGateway, Hold
from testkit.halves import GREEN, answer_left_half, plain_photo
from testkit.matting_program import PROGRAM, Terminal, environment, run, run_on_terminal, start


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway(answer=answer_left_half) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("cat.png", "photos/a.png", "photos/b.png", "photos/below/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(plain_photo())
    return tmp_path


def is_cutout(content: bytes) -> bool:
    pixels = np.asarray(Image.open(io.BytesIO(content)))
    return pixels.shape == (20, 30, 4) and tuple(pixels[10, 5]) == (*GREEN, 255) and not pixels[10, 25].any()


def test_it_stands_in_a_pipe(gateway: FakeGateway, folder: Path) -> None:
    done = run("cutout", "-", "-o", "-", server=gateway.address, folder=folder, sent=plain_photo())
    assert (done.returncode, done.stderr) == (0, b"")
    assert is_cutout(done.stdout)
    done = run("cutout", "-", "-o", "-", "--format", "webp", server=gateway.address, folder=folder, sent=plain_photo())
    assert Image.open(io.BytesIO(done.stdout)).format == "WEBP"


def test_a_photo_from_a_pipe_goes_into_a_folder(gateway: FakeGateway, folder: Path) -> None:
    done = run("cutout", "-", "cat.png", "-o", "out/", server=gateway.address, folder=folder, sent=plain_photo())
    assert done.returncode == 0
    assert sorted(os.listdir(folder / "out")) == ["cat-cutout.png", "stdin-cutout.png"]


def test_nothing_from_a_pipe_is_said_to_be_empty(gateway: FakeGateway, folder: Path) -> None:
    done = run("cutout", "-", "-o", "-", server=gateway.address, folder=folder)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"standard input: it is empty\n")
    (folder / "empty.jpg").touch()
    done = run("cutout", "empty.jpg", "-o", "x.png", server=gateway.address, folder=folder)
    assert (done.returncode, done.stderr) == (1, b"empty.jpg: the file is empty\n")
    assert gateway.calls == []


def test_a_terminal_is_no_pipe(gateway: FakeGateway, folder: Path) -> None:
    code, seen = run_on_terminal("cutout", "cat.png", "-o", "-", server=gateway.address, folder=folder)
    assert (code, seen.count("\n")) == (2, 1)
    assert "standard output is a terminal" in seen
    code, seen = run_on_terminal("cutout", "-", "-o", "x.png", server=gateway.address, folder=folder)
    assert (code, seen.count("\n")) == (2, 1)
    assert "standard input is a terminal" in seen


def test_named_pipes_are_read_and_written_and_stay(gateway: FakeGateway, folder: Path) -> None:
    os.mkfifo(folder / "in.png")
    os.mkfifo(folder / "out.png")
    program = start("cutout", "in.png", "-o", "out.png", server=gateway.address, folder=folder)
    (folder / "in.png").write_bytes(plain_photo())
    assert is_cutout((folder / "out.png").read_bytes())
    assert program.communicate()[1] == b"wrote out.png\n"
    assert program.returncode == 0
    assert (folder / "out.png").is_fifo()


def test_a_device_is_written(gateway: FakeGateway, folder: Path) -> None:
    assert run("cutout", "cat.png", "-o", "/dev/null", server=gateway.address, folder=folder).returncode == 0
    assert Path("/dev/null").is_char_device()


def test_the_names_of_a_programs_own_descriptors_are_pipes_too(gateway: FakeGateway, folder: Path) -> None:
    words = ("cutout", "/dev/stdin", "-o", "/dev/stdout")
    done = run(*words, server=gateway.address, folder=folder, sent=plain_photo())
    assert done.returncode == 0
    assert is_cutout(done.stdout)
    script = f"exec {PROGRAM} cutout cat.png -o /dev/stdout >> grown.bin"
    (folder / "grown.bin").write_bytes(b"before")
    subprocess.run(["bash", "-c", script], cwd=folder, env=environment(gateway.address), check=True)
    grown = (folder / "grown.bin").read_bytes()
    assert grown.startswith(b"before")
    assert is_cutout(grown.removeprefix(b"before"))


def test_a_link_is_written_through_and_stays(gateway: FakeGateway, folder: Path) -> None:
    (folder / "real.png").write_bytes(b"older")
    (folder / "link.png").symlink_to("real.png")
    done = run("cutout", "cat.png", "-o", "link.png", server=gateway.address, folder=folder)
    assert done.returncode == 2
    assert (folder / "real.png").read_bytes() == b"older"
    assert (
        run("cutout", "cat.png", "-o", "link.png", "--overwrite", server=gateway.address, folder=folder).returncode == 0
    )
    assert (folder / "link.png").is_symlink()
    assert is_cutout((folder / "real.png").read_bytes())


def test_what_is_there_is_left_until_it_is_said_what_becomes_of_it(gateway: FakeGateway, folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out/a-cutout.png").write_bytes(b"older")
    words = ("cutout", "photos", "-o", "out")
    refused = run(*words, server=gateway.address, folder=folder)
    assert refused.returncode == 2
    assert b"out/a-cutout.png is there already: --overwrite" in refused.stderr
    assert os.listdir(folder / "out") == ["a-cutout.png"]
    assert gateway.calls == []

    skipped = run(*words, "--skip-existing", server=gateway.address, folder=folder)
    assert skipped.returncode == 0
    assert b"1 of 2 done, 1 there already\n" in skipped.stderr
    assert (folder / "out/a-cutout.png").read_bytes() == b"older"
    assert len(gateway.calls) == 1

    assert run(*words, "--overwrite", server=gateway.address, folder=folder).returncode == 0
    assert is_cutout((folder / "out/a-cutout.png").read_bytes())


def test_folders_below_are_taken_when_asked_for(gateway: FakeGateway, folder: Path) -> None:
    done = run("cutout", "photos", "-o", "out", server=gateway.address, folder=folder)
    assert b"left out: folders below photos; --recursive takes them as well\n" in done.stderr
    assert sorted(os.listdir(folder / "out")) == ["a-cutout.png", "b-cutout.png"]
    done = run("cutout", "photos", "-o", "out", "-r", "--skip-existing", server=gateway.address, folder=folder)
    assert b"1 of 3 done, 2 there already\n" in done.stderr
    assert (folder / "out/below/c-cutout.png").exists()


def test_patterns_are_understood_where_no_shell_does(gateway: FakeGateway, folder: Path) -> None:
    done = run("cutout", "photos/**/[ac].png", "-o", "out", server=gateway.address, folder=folder)
    assert done.returncode == 0
    assert sorted(str(path.relative_to(folder)) for path in (folder / "out").rglob("*.png")) == [
        "out/a-cutout.png",
        "out/below/c-cutout.png",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("cat.png", "-o", "cat.bmp"), b"cat.bmp: a result is .png, .webp, .jpg, .jpeg, .avif, and not .bmp"),
        (("cat.png", "photos/a.png", "-o", "out.png"), b"out.png is a file: several photos need a folder"),
        (("photos", "-o", "out.png"), b"out.png is a file: several photos need a folder"),
        (("photos", "-o", "-"), b"standard output holds one result"),
        (("cat.png", "-o", "out"), b"out has no suffix"),
        (("photos", "-o", "-", "--json"), b"holds one result"),
        (("cat.png", "-o", "-", "--json"), b"both want standard output"),
    ],
)
def test_a_place_that_cannot_hold_the_results_is_refused_and_not_made(
    gateway: FakeGateway, folder: Path, words: tuple[str, ...], told: bytes
) -> None:
    before = sorted(folder.iterdir())
    done = run("cutout", *words, server=gateway.address, folder=folder)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert told in done.stderr
    assert sorted(folder.iterdir()) == before


def test_options_may_stand_among_the_photos(gateway: FakeGateway, folder: Path) -> None:
    (folder / "-odd.png").write_bytes(plain_photo())
    words = ("cutout", "-o", "out", "cat.png", "--crop", "photos/a.png", "--", "-odd.png")
    done = run(*words, server=gateway.address, folder=folder)
    assert b"3 of 3 done" in done.stderr


def test_a_script_reads_what_became_of_each_photo(gateway: FakeGateway, folder: Path) -> None:
    (folder / "photos/bad.png").touch()
    done = run("cutout", "photos", "-o", "out", "--json", server=gateway.address, folder=folder)
    lines = {line["photo"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 1
    assert lines["photos/bad.png"] == {
        "photo": "photos/bad.png",
        "result": "out/bad-cutout.png",
        "status": "failed",
        "error": "the file is empty",
    }
    made = lines["photos/a.png"]
    assert (made["status"], made["result"], made["model"]) == ("done", "out/a-cutout.png", "fake")
    assert made["subject"]["box"]["width_px"] == 15
    done = run("cutout", "photos", "-o", "out", "--json", "--skip-existing", server=gateway.address, folder=folder)
    assert [json.loads(line)["status"] for line in done.stdout.splitlines()] == ["skipped", "skipped", "failed"]


def test_a_bar_on_a_terminal_leaves_lines_for_a_script_alone(gateway: FakeGateway, folder: Path) -> None:
    (folder / "photos/[bold]:cat:.png").touch()
    ours, theirs = pty.openpty()
    done = subprocess.run(
        [PROGRAM, "cutout", "photos", "-o", "out", "--json"],
        stdout=subprocess.PIPE, stderr=theirs, env=environment(gateway.address) | {"TERM": "xterm"}, cwd=folder,
    )  # fmt: skip
    os.close(theirs)
    seen = os.read(ours, 1 << 20).decode()
    os.close(ours)
    assert sorted(json.loads(line)["status"] for line in done.stdout.splitlines()) == ["done", "done", "failed"]
    assert "photos/[bold]:cat:.png: the file is empty" in seen
    assert "3/3" in seen


def test_who_stops_reading_the_lines_gets_the_files(gateway: FakeGateway, folder: Path) -> None:
    program = start("cutout", "photos", "-o", "out", "--json", server=gateway.address, folder=folder)
    assert program.stdout is not None
    program.stdout.close()
    program.stdout = None
    assert b"2 of 2 done" in program.communicate()[1]
    assert program.returncode == 0
    assert len(os.listdir(folder / "out")) == 2


def test_it_says_on_a_terminal_that_it_composes_here_and_nothing_where_it_is_piped(
    gateway: FakeGateway, folder: Path
) -> None:
    code, seen = run_on_terminal("cutout", "cat.png", "-o", "a.png", server=gateway.address, folder=folder)
    assert code == 0
    assert seen == ("asking for the alpha only and composing here; --server-side has the server do it\nwrote a.png\n")
    assert run("cutout", "cat.png", "-o", "b.png", server=gateway.address, folder=folder).stderr == b"wrote b.png\n"


def interrupt(program: subprocess.Popen[bytes]) -> tuple[int, str]:
    program.send_signal(signal.SIGINT)
    told = program.communicate()[1].decode()
    return program.returncode, told


def test_ctrl_c_ends_it_at_once_and_says_what_was_done(gateway: FakeGateway, folder: Path) -> None:
    gateway.script(OK, Hold(threading.Event()))
    words = ("cutout", "photos", "-r", "-o", "out", "--concurrency", "1")
    program = start(*words, server=gateway.address, folder=folder)
    for _ in range(2):
        assert gateway.arrived.acquire(timeout=30)
    assert interrupt(program) == (130, "interrupted: 1 of 3 done, 2 not tried; what is written is whole\n")
    assert [path.name for path in (folder / "out").iterdir()] == ["a-cutout.png"]
    assert run(*words, "--skip-existing", server=gateway.address, folder=folder).returncode == 0


def test_ctrl_c_typed_at_a_terminal_leaves_the_bar_and_no_traceback(gateway: FakeGateway, folder: Path) -> None:
    gateway.script(OK, Hold(threading.Event()))
    words = ("cutout", "photos", "-r", "-o", "out", "--concurrency", "1")
    terminal = Terminal(*words, server=gateway.address, folder=folder)
    for _ in range(2):
        assert gateway.arrived.acquire(timeout=30)
    terminal.type(b"\x03")
    code, seen = terminal.end()
    assert code == 130
    assert "1/3" in seen  # the bar
    assert "interrupted: 1 of 3 done, 2 not tried; what is written is whole\n" in seen
    assert "Traceback" not in seen


@pytest.mark.parametrize("photo", ["-", "in.png", "cat.png"])
def test_ctrl_c_ends_it_where_nobody_is_at_the_other_end_of_a_pipe(
    gateway: FakeGateway, folder: Path, photo: str
) -> None:
    (folder / "out").mkdir()
    os.mkfifo(folder / "in.png")
    os.mkfifo(folder / "out/cat-cutout.png")
    words = ("cutout", photo, "photos/a.png", "-o", "out", "--json")
    program = start(*words, server=gateway.address, folder=folder)
    assert program.stdout is not None
    assert json.loads(program.stdout.readline())["photo"] == "photos/a.png"
    assert interrupt(program) == (130, "interrupted: 1 of 2 done, 1 not tried; what is written is whole\n")
