# SPDX-License-Identifier: Apache-2.0
"""Results go to where a path leads, and nothing that is there is lost by it."""

import os
import threading
from pathlib import Path

import pytest
from matting_client.program.paths.transfer import read_photo, write_result


def test_a_result_never_replaces_what_came_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"theirs")
    with pytest.raises(FileExistsError, match="--overwrite was not given"):
        write_result(path, b"ours", overwrite=False)
    assert path.read_bytes() == b"theirs"
    assert os.listdir(tmp_path) == ["a.png"]


def test_an_empty_file_is_filled(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.touch()
    write_result(path, b"ours", overwrite=False)
    assert path.read_bytes() == b"ours"


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_stays_and_what_it_names_is_written(tmp_path: Path, is_there: bool) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "real.png"
    if is_there:
        target.write_bytes(b"older")
    link = tmp_path / "link.png"
    link.symlink_to("elsewhere/real.png")
    write_result(link, b"result", overwrite=is_there)
    assert link.is_symlink()
    assert target.read_bytes() == b"result"
    assert os.listdir(tmp_path / "elsewhere") == ["real.png"]


def test_all_names_of_a_file_hold_the_result(tmp_path: Path) -> None:
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    one.write_bytes(b"older, and longer")
    other.hardlink_to(one)
    with pytest.raises(FileExistsError):
        write_result(one, b"result", overwrite=False)
    write_result(one, b"result", overwrite=True)
    assert other.read_bytes() == b"result"


def test_a_pipe_is_written_and_read_and_stays_one(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    content = os.urandom(1 << 20)  # more than a pipe holds
    writing = threading.Thread(target=write_result, args=(pipe, content), kwargs={"overwrite": False})
    writing.start()
    assert read_photo(pipe) == content
    writing.join()
    assert pipe.is_fifo()


def test_a_file_keeps_its_permissions_and_a_new_one_gets_the_usual(tmp_path: Path) -> None:
    private, new = tmp_path / "private.png", tmp_path / "new.png"
    private.write_bytes(b"older")
    private.chmod(0o600)
    write_result(private, b"result", overwrite=True)
    write_result(new, b"result", overwrite=False)
    (tmp_path / "usual").touch()
    assert private.stat().st_mode & 0o777 == 0o600
    assert new.stat().st_mode == (tmp_path / "usual").stat().st_mode
