# SPDX-License-Identifier: Apache-2.0
"""Collects, in a new root folder, what a Python environment needs of this system: collect.py ENVIRONMENT ROOT.

That is the interpreter, its standard library, and the libraries that anything of them or of the environment is linked
to: no shell, no package manager, no other program. The packages of Debian or Ubuntu that they come from are named in
var/lib/dpkg/status.d, where scanners for known faults look in images without a package manager; their licences are
beside.
"""

import compileall
import os
import py_compile
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

_LEFT_OUT = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "lib2to3", "ensurepip", "pydoc_data", "sitecustomize.py"),
    *("__pycache__", "*-packages", "config-*"),
)
_ETC = {
    "passwd": "root:x:0:0:root:/:/nonexistent\nmatting:x:65532:65532:matting:/:/nonexistent\n",
    "group": "root:x:0:\nmatting:x:65532:\n",
    # Runtimes put their own in its place.
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "nsswitch.conf": "hosts: files dns\n",
}


def main(environment: Path, root: Path) -> None:
    """Fill a root folder that is not there yet; the environment itself is the caller's to copy."""
    for name in ("bin", "lib", "lib64", "sbin"):
        if (link := Path("/", name)).is_symlink():
            root.mkdir(exist_ok=True)
            Path(root, name).symlink_to(link.readlink())
    interpreter = [link for link in _links(environment / "bin" / "python") if environment not in link.parents]
    standard_library = Path(sysconfig.get_path("stdlib"))
    libraries = {
        _in_its_folder(library)
        for place in (environment, standard_library, interpreter[-1])
        for library in _libraries_of(place)
        if environment not in library.parents
    }
    for file in (*interpreter, *libraries):
        copy = _below(root, file)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(file, copy, follow_symlinks=file in libraries)
    ignored = shutil.ignore_patterns(*_LEFT_OUT)
    shutil.copytree(standard_library, _below(root, standard_library), symlinks=True, ignore=ignored)
    compileall.compile_dir(
        _below(root, standard_library),
        quiet=1,
        stripdir=str(root),
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    for name in ("etc", "tmp", "proc", "sys", "dev"):
        Path(root, name).mkdir()
    Path(root, "tmp").chmod(0o1777)
    for name, text in _ETC.items():
        Path(root, "etc", name).write_text(text)
    shutil.copy("/etc/ld.so.conf", Path(root, "etc"))
    shutil.copytree("/etc/ld.so.conf.d", Path(root, "etc", "ld.so.conf.d"))
    subprocess.run(["ldconfig", "-r", root], check=True)
    _name_packages({*interpreter, *libraries, standard_library / "os.py"}, root)


def _below(root: Path, path: Path) -> Path:
    return root / path.relative_to("/")


def _in_its_folder(file: Path) -> Path:
    return file.parent.resolve() / file.name


def _links(path: Path) -> Iterator[Path]:
    """Yield what a link leads to, link by link, to the file at its end."""
    while path.is_symlink():
        path = _in_its_folder(path.parent / path.readlink())
        yield path


def _libraries_of(place: Path) -> Iterator[Path]:
    """Yield the libraries of the system that a file, or anything in a folder, is linked to."""
    files = [place] if place.is_file() else [file for file in place.rglob("*.so*") if file.is_file()]
    said = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False)
    for line in said.stdout.splitlines():
        found = line.split(" => ")[-1].split(" (")[0].strip()
        if found.startswith("/") and not found.endswith(":"):
            yield Path(found)


def _name_packages(files: set[Path], root: Path) -> None:
    """Write down the packages of some files as dpkg knows them, and copy their licences."""
    # What is in /usr/lib may have been packed for /lib.
    names = sorted({str(name) for file in files for name in (file, Path("/", *file.parts[2:]))})
    said = subprocess.run(["dpkg-query", "--search", *names], capture_output=True, text=True, check=False)
    owners = (line.split(": ")[0] for line in said.stdout.splitlines())
    packages = {owner.split(",")[0] for owner in owners if " " not in owner}
    status = Path(root, "var", "lib", "dpkg", "status.d")
    status.mkdir(parents=True)
    for package in packages:
        name = package.split(":")[0]
        known = subprocess.run(["dpkg-query", "--status", package], capture_output=True, check=True)
        Path(status, name).write_bytes(known.stdout)
        if (licence := Path("/usr/share/doc", name, "copyright")).is_file():
            copy = _below(root, licence)
            copy.parent.mkdir(parents=True)
            shutil.copy(licence, copy)


if __name__ == "__main__":
    os.umask(0o022)
    main(Path(sys.argv[1]), Path(sys.argv[2]))
