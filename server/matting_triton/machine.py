# SPDX-License-Identifier: Apache-2.0
"""Whether this machine and this Python can run the packaged Triton at all.

The facts are gathered by `this_machine` and judged by `check_machine`, a pure function, so that every refusal
can be shown on a machine where everything is right.
"""

import platform
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from matting_triton.errors import GlibcTooOldError, LibpythonMissingError, PlatformUnsupportedError

# What the package's wheel tag (manylinux_2_35_x86_64) and its Python stubs demand.
MIN_GLIBC = (2, 35)
SUPPORTED_PYTHONS = ((3, 11), (3, 12))


@dataclass(frozen=True, slots=True)
class Machine:
    """What matters of a machine and its Python.

    Attributes:
        system: Kernel name, as `uname -s` says it.
        architecture: As `uname -m` says it.
        libc: Name and version of the C library, such as `("glibc", "2.36")`.
        python: Major and minor version.
        libpython_name: File name of the shared libpython, such as `libpython3.11.so.1.0`.
        library_folders: Where that file may lie, best first.
    """

    system: str
    architecture: str
    libc: tuple[str, str]
    python: tuple[int, int]
    libpython_name: str
    library_folders: tuple[Path, ...]


def this_machine() -> Machine:
    """Gather the facts of the machine and interpreter this runs on."""
    major, minor = sys.version_info[:2]
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        libc=platform.libc_ver(),
        python=(major, minor),
        libpython_name=f"libpython{major}.{minor}.so.1.0",
        library_folders=tuple(_library_folders()),
    )


def check_machine(machine: Machine) -> Path:
    """Return the folder that holds libpython.

    Raises:
        PlatformUnsupportedError: Not Linux on x86-64 with glibc, or a Python that is not supported.
        GlibcTooOldError: glibc below 2.35.
        LibpythonMissingError: The shared libpython is in none of the folders.
    """
    if (machine.system, machine.architecture) != ("Linux", "x86_64"):
        raise PlatformUnsupportedError(
            f"The packaged Triton runs on Linux x86-64, not on {machine.system} {machine.architecture}. "
            "Run NVIDIA's Triton image elsewhere and give the gateway its address."
        )
    if machine.python not in SUPPORTED_PYTHONS:
        raise PlatformUnsupportedError(
            f"Python {_dotted(machine.python)} is not supported here; use "
            f"{' or '.join(_dotted(version) for version in SUPPORTED_PYTHONS)}."
        )
    _check_libc(*machine.libc)
    for folder in machine.library_folders:
        if (folder / machine.libpython_name).is_file():
            return folder
    version = _dotted(machine.python)
    raise LibpythonMissingError(
        f"{machine.libpython_name} is in none of {', '.join(map(str, machine.library_folders))}; Triton's Python "
        f"backend needs it. On Debian and Ubuntu: apt-get install libpython{version}. With pyenv: "
        f"PYTHON_CONFIGURE_OPTS=--enable-shared pyenv install --force {version}. uv's Pythons bring it along."
    )


def _check_libc(name: str, version: str) -> None:
    if name != "glibc":
        raise PlatformUnsupportedError(
            f"The packaged Triton needs glibc; this machine's C library is {name or 'another one'}."
        )
    found = tuple(int(part) for part in version.split(".")[:2])
    if found < MIN_GLIBC:
        raise GlibcTooOldError(
            f"The packaged Triton needs glibc {_dotted(MIN_GLIBC)} or newer, this machine has {version}. Debian 12, "
            "Ubuntu 22.04 and RHEL 10 are new enough; or give the gateway the address of a Triton elsewhere."
        )


def _library_folders() -> Iterable[Path]:
    seen: set[Path] = set()
    library, multiarch = sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("MULTIARCH")
    candidates = [library, library and multiarch and str(Path(library, multiarch)), str(Path(sys.base_prefix, "lib"))]
    if multiarch:
        candidates.append(str(Path("/usr/lib", multiarch)))
    for candidate in candidates:
        if candidate and (folder := Path(candidate)) not in seen:
            seen.add(folder)
            yield folder


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
