# SPDX-License-Identifier: Apache-2.0
"""gRPC clients of other languages, made of `tests/interop` once and kept in `.cache/interop`."""

import asyncio
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SOURCES = ROOT / "tests" / "interop"
_CACHE = ROOT / ".cache" / "interop"
_GO_PATH = Path("/usr/share/gocode")
_INSTALL_S = 300


class MissingError(Exception):
    """What the clients are made with is not on this machine; the text says what."""


def node_scripts() -> Path:
    """Return a folder with the scripts and the packages that they need.

    Raises:
        MissingError: There is no node, or the packages cannot be had.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise MissingError("node and npm are needed")
    sources = [*_SOURCES.glob("*.mjs"), _SOURCES / "package.json", _SOURCES / "package-lock.json"]
    return _made_once("node", sources, _install_packages)


def go_program() -> Path:
    """Return the program that `retry.go` is.

    Raises:
        MissingError: There is no Go, or not Debian's package of its gRPC.
    """
    if shutil.which("go") is None or not (_GO_PATH / "src/google.golang.org/grpc").is_dir():
        raise MissingError("go and Debian's golang-google-grpc-dev are needed")
    return _made_once("go", [_SOURCES / "retry.go"], _build_go) / "retry"


async def output_of(*command: str | Path, given: bytes = b"", environment: dict[str, str] | None = None) -> str:
    """Run a client, and return what it printed.

    Raises:
        RuntimeError: It failed; the text is the end of what it had to say.
    """
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdin=-1, stdout=-1, stderr=-1, env={**os.environ, **(environment or {})}
    )
    out, errors = await process.communicate(given)
    if process.returncode:
        raise RuntimeError(errors.decode(errors="replace")[-2000:])
    return out.decode()


def _install_packages(folder: Path) -> None:
    _run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)


def _build_go(folder: Path) -> None:
    environment = {"GO111MODULE": "off", "GOPATH": str(_GO_PATH), "GOCACHE": str(folder / "build")}
    _run("go", "build", "-o", "retry", "retry.go", folder=folder, environment=environment)
    shutil.rmtree(folder / "build")


def _run(*command: str, folder: Path, environment: dict[str, str] | None = None) -> None:
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, **(environment or {})},
            timeout=_INSTALL_S,
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise MissingError(f"{' '.join(command)} failed: {exc}") from exc


def _made_once(name: str, sources: list[Path], make: Callable[[Path], None]) -> Path:
    """Return a folder with the sources and what was made of them: it comes into being as a whole."""
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sorted(sources))).hexdigest()[:16]
    made = _CACHE / f"{name}-{digest}"
    if made.is_dir():
        return made
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as parent:
        folder = Path(parent) / name
        folder.mkdir()
        for source in sources:
            shutil.copy(source, folder)
        make(folder)
        try:
            folder.rename(made)
        except OSError:  # somebody else was quicker
            if not made.is_dir():
                raise
    return made
