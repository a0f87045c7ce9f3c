# SPDX-License-Identifier: Apache-2.0
"""A machine that cannot run the packaged Triton is refused with what to do about it."""

from dataclasses import replace
from pathlib import Path

import pytest
from matting_triton.errors import GlibcTooOldError, LibpythonMissingError, PlatformUnsupportedError
from matting_triton.machine import Machine, check_machine, this_machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    (tmp_path / "libpython3.11.so.1.0").touch()
    return Machine(
        system="Linux",
        architecture="x86_64",
        libc=("glibc", "2.36"),
        python=(3, 11),
        libpython_name="libpython3.11.so.1.0",
        library_folders=(tmp_path / "elsewhere", tmp_path),
    )


def test_a_good_machine_names_the_folder_of_libpython(machine: Machine, tmp_path: Path) -> None:
    assert check_machine(machine) == tmp_path


def test_this_machine_runs_it() -> None:
    found = this_machine()
    assert (check_machine(found) / found.libpython_name).is_file()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"system": "Darwin"}, "Darwin"),
        ({"architecture": "aarch64"}, "aarch64"),
        ({"python": (3, 10)}, "3.10"),
        ({"python": (3, 13)}, "3.11 or 3.12"),
        ({"libc": ("", "")}, "glibc"),
        ({"libc": ("musl", "1.2")}, "musl"),
    ],
)
def test_another_platform_is_refused_by_name(machine: Machine, changes: dict[str, object], words: str) -> None:
    with pytest.raises(PlatformUnsupportedError, match=words):
        check_machine(replace(machine, **changes))  # type: ignore[arg-type]  # mixed fields of one table


@pytest.mark.parametrize("version", ["2.34", "2.9", "1.99"])
def test_an_old_glibc_is_refused(machine: Machine, version: str) -> None:
    with pytest.raises(GlibcTooOldError, match=rf"2\.35 or newer.*{version}"):
        check_machine(replace(machine, libc=("glibc", version)))


@pytest.mark.parametrize("version", ["2.35", "2.100", "3.0"])
def test_a_new_glibc_is_accepted(machine: Machine, version: str) -> None:
    check_machine(replace(machine, libc=("glibc", version)))


def test_a_missing_libpython_says_what_to_install(machine: Machine) -> None:
    with pytest.raises(LibpythonMissingError, match=r"apt-get install libpython3\.11"):
        check_machine(replace(machine, library_folders=machine.library_folders[:1]))
