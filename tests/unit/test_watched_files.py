# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest
from matting_gateway.reloading.watched_files import (
    ReloadReport,
    WatchedFileError,
    WatchedFiles,
    read_key_pair,
    read_roots,
)
from testkit.certificates import Authority
from testkit.manual_clock import ManualClock


class Watched:
    """A watched text file, a clock, and the reports that came."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.clock = ManualClock()
        self.paths = [folder / name for name in names or ("file",)]
        self.reports: list[ReloadReport] = []
        self.read_count = 0
        self.files = WatchedFiles(self.paths, self._load, clock=self.clock, on_reload=self.reports.append)

    def _load(self) -> str:
        self.read_count += 1
        text = "+".join(path.read_text() for path in self.paths)
        if "bad" in text:
            raise ValueError("bad content")
        return text

    def write(self, text: str, index: int = 0) -> None:
        self.paths[index].write_text(text)

    def later(self) -> str:
        self.clock.advance(1.0)
        return self.files.value()


def test_the_first_value_is_read_when_asked_for(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    assert watched.files.version == 0
    assert watched.files.value() == "one"
    assert watched.files.version == 1
    assert watched.reports == []


def test_a_missing_file_is_said_by_name_and_looked_for_again(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    with pytest.raises(WatchedFileError, match="file cannot be read: No such file"):
        watched.files.value()
    watched.write("there")
    assert watched.files.value() == "there"


def test_a_change_is_seen_an_interval_later(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    watched.files.value()
    watched.write("two two")
    assert watched.files.value() == "one"
    assert watched.later() == "two two"
    assert watched.files.version == 2
    assert watched.reports == [ReloadReport(tuple(watched.paths), accepted=True)]
    assert watched.files.statistics().reload_count == 1


def test_what_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    for _ in range(5):
        watched.later()
    assert watched.read_count == 1


def test_a_bad_change_keeps_the_old_value_and_is_told_of_once(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    watched.files.value()
    watched.write("bad one")
    assert [watched.later() for _ in range(3)] == ["one"] * 3
    assert watched.reports == [ReloadReport(tuple(watched.paths), accepted=False, problem="bad content")]
    watched.write("good again")
    assert watched.later() == "good again"
    assert watched.files.statistics().last_problem == ""


def test_a_file_that_vanishes_keeps_the_old_value(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    watched.files.value()
    watched.paths[0].unlink()
    assert watched.later() == "one"
    assert watched.reports[0].problem.endswith("No such file or directory.")


def test_a_replaced_file_of_the_same_size_and_time_is_a_change(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    watched.files.value()
    status = watched.paths[0].stat()
    other = tmp_path / "other"
    other.write_text("two")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(watched.paths[0])
    assert watched.later() == "two"


def test_any_of_several_files_makes_a_change(tmp_path: Path) -> None:
    watched = Watched(tmp_path, "a", "b")
    watched.write("a1", 0)
    watched.write("b1", 1)
    assert watched.files.value() == "a1+b1"
    watched.write("b22", 1)
    assert watched.later() == "a1+b22"


def test_a_file_written_while_it_is_read_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("half")
    texts = []

    def load() -> str:
        texts.append(path.read_text())
        if len(texts) == 1:
            path.write_text("whole")
        return texts[-1]

    files = WatchedFiles([path], load, clock=ManualClock())
    assert files.value() == "whole"
    assert texts == ["half", "whole"]


def test_a_writer_that_never_rests_does_not_hold_the_reader(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("x")

    def load() -> str:
        with path.open("a") as file:
            file.write("x")
        return path.read_text()

    with pytest.raises(WatchedFileError, match="being written"):
        WatchedFiles([path], load, clock=ManualClock()).value()


def test_a_reload_reads_at_once_and_what_did_not_change_too(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    watched.files.value()
    watched.write("two")
    watched.files.reload()
    watched.files.reload()
    assert watched.files.value() == "two"
    assert (watched.files.version, [report.accepted for report in watched.reports]) == (3, [True, True])


def test_a_reload_of_what_cannot_be_read_keeps_the_old_value(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("one")
    watched.files.value()
    watched.write("bad")
    watched.files.reload()
    assert watched.files.value() == "one"
    assert [report.problem for report in watched.reports] == ["bad content"]


def test_its_repr_names_files_and_never_content(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    watched.write("secret")
    watched.files.value()
    assert repr(watched.files) == "<WatchedFiles file: version 1, 0 refused>"


def test_a_key_pair_must_fit_together(tmp_path: Path) -> None:
    authority = Authority()
    certificate, key = authority.issue("a").write(tmp_path, "a")
    _, other_key = authority.issue("b").write(tmp_path, "b")
    assert read_key_pair(certificate, key).private_key == key.read_bytes()
    with pytest.raises(WatchedFileError, match="KEY_VALUES_MISMATCH"):
        read_key_pair(certificate, other_key)


def test_a_key_pair_must_be_pem(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("nothing of the kind")
    with pytest.raises(WatchedFileError, match="no PEM certificate chain"):
        read_key_pair(path, path)


def test_an_encrypted_key_is_refused_by_name(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415 - this test alone needs it

    issued = Authority().issue("a")
    certificate, key = issued.write(tmp_path, "a")
    loaded = serialization.load_pem_private_key(issued.key, None)
    key.write_bytes(
        loaded.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(WatchedFileError, match="encrypted"):
        read_key_pair(certificate, key)


@pytest.mark.parametrize("content", [b"", b"text", "ä".encode()])
def test_roots_must_hold_certificates(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca"
    path.write_bytes(content)
    with pytest.raises(WatchedFileError, match="no PEM certificates of authorities"):
        read_roots(path)


def test_roots_are_read(tmp_path: Path) -> None:
    path = tmp_path / "ca"
    path.write_bytes(Authority().certificate)
    assert read_roots(path).startswith(b"-----BEGIN CERTIFICATE-----")
