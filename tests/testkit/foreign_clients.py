# SPDX-License-Identifier: Apache-2.0
"""gRPC clients of other languages, made of `tests/interop` and `clients/examples` once and kept in `.cache/interop`."""

import asyncio
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_SOURCES = ROOT / "tests" / "interop"
_CACHE = ROOT / ".cache" / "interop"
_GO_PATH = Path("/usr/share/gocode")
_SUFFIXES = {".go", ".json", ".md", ".ts", ".yaml"}
_MADE = {"node_modules", "dist", "gen", "build"}
_MAKE_S = 600
_NPM_CI = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")


class MissingError(Exception):
    """What the clients are made with is not on this machine; the text says what."""


@dataclass(frozen=True)
class Outcome:
    """How a program ended, and what it printed."""

    code: int
    out: str
    errors: str


def node_scripts() -> Path:
    """Return a folder with the scripts and the packages that they need.

    Raises:
        MissingError: There is no node, or the packages cannot be had.
    """
    _need_node()
    sources = [*_SOURCES.glob("*.mjs"), _SOURCES / "package.json", _SOURCES / "package-lock.json"]
    return _made_once("node", _SOURCES, sources, _install_packages)


def go_program() -> Path:
    """Return the program that `retry.go` is.

    Raises:
        MissingError: There is no Go, or not Debian's package of its gRPC.
    """
    _need_go()
    return _made_once("go", _SOURCES, [_SOURCES / "retry.go"], _build_retry) / "retry"


def typescript_example() -> Path:
    """Return the folder of the programs that the TypeScript example is, built as its README says.

    Raises:
        MissingError: There is no node, or the packages cannot be had.
    """
    _need_node()
    example = Path("clients/examples/typescript")

    def build(folder: Path) -> None:
        install, *rest = _commands(example)
        if install != "npm ci":
            raise ValueError(f"the README begins with {install}")
        _install_packages(folder / example)
        _run("bash", "-euc", "\n".join(rest), folder=folder / example)
        _run("npm", "prune", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder / example)

    return _made_once("typescript", ROOT, _sources_of(example), build) / example / "dist"


def go_example() -> Path:
    """Return the program that the Go example is, built as its README says.

    Raises:
        MissingError: There is no Go, or not Debian's package of its gRPC.
    """
    _need_go()
    example = Path("clients/examples/go")

    def build(folder: Path) -> None:
        protoc = folder / "protoc"  # the one of grpcio-tools: Debian's need not be installed for the tests
        protoc.write_text(f'#!/bin/sh\nexec {sys.executable} -m grpc_tools.protoc "$@"\n')
        protoc.chmod(0o755)
        environment = {"PATH": f"{folder}:{os.environ['PATH']}", "GOCACHE": str(folder / "cache")}
        script = "\n".join(_commands(example))
        _run("bash", "-euc", script, folder=folder / example, environment=environment)
        shutil.rmtree(folder / "cache")

    return _made_once("go-example", ROOT, _sources_of(example), build) / example / "matting"


async def outcome_of(*command: str | Path, given: bytes = b"", environment: dict[str, str] | None = None) -> Outcome:
    """Run a client to its end."""
    process = await asyncio.create_subprocess_exec(
        *map(str, command), stdin=-1, stdout=-1, stderr=-1, env={**os.environ, **(environment or {})}
    )
    try:
        out, errors = await process.communicate(given)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Outcome(process.returncode or 0, out.decode(), errors.decode(errors="replace"))


async def output_of(*command: str | Path, given: bytes = b"", environment: dict[str, str] | None = None) -> str:
    """Run a client, and return what it printed.

    Raises:
        RuntimeError: It failed; the text is the end of what it had to say.
    """
    outcome = await outcome_of(*command, given=given, environment=environment)
    if outcome.code:
        raise RuntimeError(outcome.errors[-2000:])
    return outcome.out


def _need_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise MissingError("node and npm are needed")


def _need_go() -> None:
    needed = ("google.golang.org/grpc", "github.com/golang/protobuf/protoc-gen-go/generator")
    if shutil.which("go") is None or not all((_GO_PATH / "src" / name).is_dir() for name in needed):
        raise MissingError("go and Debian's golang-google-grpc-dev are needed")


def _sources_of(example: Path) -> list[Path]:
    """Return the files of an example, without what was made of them, and the contract."""
    files = [path for path in (ROOT / example).rglob("*") if path.suffix in _SUFFIXES]
    contract = [*(ROOT / "proto").rglob("*.proto"), ROOT / "proto" / "buf.yaml"]
    return [path for path in files if not _MADE & set(path.relative_to(ROOT).parts)] + contract


def _commands(example: Path) -> list[str]:
    """Return the lines of the README that build an example."""
    (block,) = re.findall(r"<!-- builds -->\n```sh\n(.*?)```", (ROOT / example / "README.md").read_text(), re.DOTALL)
    return str(block).splitlines()


def _install_packages(folder: Path) -> None:
    try:
        _run(*_NPM_CI, folder=folder)
    except (RuntimeError, subprocess.TimeoutExpired) as exc:
        raise MissingError(f"the packages cannot be had: {exc}") from exc


def _build_retry(folder: Path) -> None:
    environment = {"GO111MODULE": "off", "GOPATH": str(_GO_PATH), "GOCACHE": str(folder / "build")}
    _run("go", "build", "-o", "retry", "retry.go", folder=folder, environment=environment)
    shutil.rmtree(folder / "build")


def _run(*command: str, folder: Path, environment: dict[str, str] | None = None) -> None:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **(environment or {})}, timeout=_MAKE_S, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def _made_once(name: str, base: Path, sources: Iterable[Path], make: Callable[[Path], None]) -> Path:
    """Return a folder with the sources, where they are below `base`, and what was made of them.

    It comes into being as a whole.
    """
    ordered = sorted(sources)
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in ordered)).hexdigest()[:16]
    made = _CACHE / f"{name}-{digest}"
    if made.is_dir():
        return made
    _CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=_CACHE) as parent:
        folder = Path(parent) / name
        for source in ordered:
            place = folder / source.relative_to(base)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, place)
        make(folder)
        try:
            folder.rename(made)
        except OSError:  # somebody else was quicker
            if not made.is_dir():
                raise
    return made
