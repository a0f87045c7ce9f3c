# SPDX-License-Identifier: Apache-2.0
"""Puts a local Triton together: downloads, checks hashes, keeps what is needed.

Run as `python -m matting_triton.install [CACHE_DIR]`.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from matting_triton.errors import InstallError, LocalTritonError
from matting_triton.machine import check_machine, this_machine
from matting_triton.runtime import Runtime

_HERE = Path(__file__).parent
_LOCKS = (_HERE / "tritonserver.lock", _HERE / "runtime.lock")
_TRITON_VERSION = "2.51.0"
# Raise when the layout below changes, so that an older runtime is not taken for a new one.
_LAYOUT = 1

Progress = Callable[[str], None]


def ensure_runtime(cache_dir: Path, progress: Progress | None = None) -> Runtime:
    """Return a complete runtime below `cache_dir`, installing it if it is not there.

    Idempotent, and safe to call from several processes at once: one installs, the others wait. The folder appears under
    its name only when it is whole, so an interrupted installation is never taken for a finished one.

    Args:
        cache_dir: Folder to keep runtimes in; made if missing.
        progress: Told in lines of text what goes on. Silent when nothing has to be done.

    Raises:
        PlatformUnsupportedError, GlibcTooOldError, LibpythonMissingError: This machine cannot run it.
        InstallError: A download or the assembly failed.
    """
    tell = progress or (lambda _line: None)
    libpython_folder = check_machine(this_machine())
    cache_dir = cache_dir.absolute()
    runtime = Runtime(cache_dir / _folder_name(), libpython_folder)
    try:
        if not runtime.is_complete():
            cache_dir.mkdir(parents=True, exist_ok=True)
            with _exclusively(cache_dir / "triton.lock", tell):
                if not runtime.is_complete():
                    _install(runtime, tell)
        _refresh_own_backends(runtime.backends)
    except OSError as exc:
        raise InstallError(f"Triton could not be installed into {runtime.root}: {exc}") from exc
    return runtime


def _folder_name() -> str:
    digest = hashlib.sha256(f"{_LAYOUT} {sys.base_prefix}".encode())
    for lock in _LOCKS:
        digest.update(lock.read_bytes())
    return f"triton-{_TRITON_VERSION}-py{sys.version_info.major}.{sys.version_info.minor}-{digest.hexdigest()[:10]}"


@contextlib.contextmanager
def _exclusively(lock: Path, tell: Progress) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another process installs Triton; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(runtime: Runtime, tell: Progress) -> None:
    for leftover in runtime.root.parent.glob(".half-*"):
        shutil.rmtree(leftover)
    tell(f"installing Triton {_TRITON_VERSION} into {runtime.root} (about 140 MB to download, once)")
    half = Runtime(Path(tempfile.mkdtemp(prefix=".half-", dir=runtime.root.parent)), runtime.libpython_folder)
    try:
        _install_server(half, tell)
        _install_environment(half, tell)
        half.root.chmod(0o755)
        if runtime.root.exists():
            shutil.rmtree(runtime.root)
        half.root.rename(runtime.root)
    finally:
        shutil.rmtree(half.root, ignore_errors=True)
    if not runtime.is_complete():
        raise InstallError(f"{runtime.root} is not complete after installing; remove it and try again.")
    tell("Triton is installed")


def _install_server(runtime: Runtime, tell: Progress) -> None:
    target = runtime.root / "server"
    _pip(["--target", str(target), "--requirement", str(_HERE / "tritonserver.lock")], python=None, tell=tell)
    triton = target / "pytriton" / "tritonserver"
    python_backend = runtime.backends / "python"
    python_backend.mkdir(parents=True)
    stub = triton / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
    for part in (*(triton / "backends" / "python").glob("*.*"), stub / "triton_python_backend_stub"):
        shutil.copy2(part, python_backend / part.name)
    _keep_only(target / "pytriton", [triton])
    _keep_only(triton, [triton / "bin"])
    # 32 MB that only the stub of Python 3.13 asks for.
    for unused in runtime.bundled_libraries.glob("libpython3-*.so*"):
        unused.unlink()


def _install_environment(runtime: Runtime, tell: Progress) -> None:
    # Without pip the environment is made in 40 ms, and models that run in it cannot install anything.
    has_pip = importlib.util.find_spec("pip") is not None
    venv.create(runtime.environment_folder, with_pip=not has_pip, symlinks=True)
    python = runtime.environment_folder / "bin" / "python3"
    _pip(["--requirement", str(_HERE / "runtime.lock")], python=python, tell=tell)


def _pip(arguments: Sequence[str], *, python: Path | None, tell: Progress) -> None:
    """Run pip's install: the pip of this interpreter, or of `python` where this one has none."""
    command = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        if python is None:
            raise InstallError("pip is missing in this Python environment: run `python -m ensurepip` and try again.")
        command = [str(python), "-m", "pip"]
    elif python is not None:
        command += ["--python", str(python)]
    command += ["install", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    command += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off", "--no-warn-script-location"]
    with subprocess.Popen(
        [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        lines = []
        for line in process.stdout or ():
            lines.append(line.rstrip())
            if line.lstrip().startswith(("Downloading", "Using cached", "Installing", "ERROR")):
                tell(line.strip())
    if process.returncode != 0:
        raise InstallError("pip could not install Triton's runtime:\n" + "\n".join(lines[-15:]))


def _keep_only(folder: Path, kept: Sequence[Path]) -> None:
    for entry in folder.iterdir():
        if entry not in kept:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _refresh_own_backends(backends: Path) -> None:
    """Bring the backends written here up to date: they change with this package, the rest of the runtime does not."""
    for source in (_HERE / "backends").glob("*/*.py"):
        installed = backends / source.parent.name / source.name
        content = source.read_bytes()
        if installed.is_file() and installed.read_bytes() == content:
            continue
        installed.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=installed.parent, prefix=".new-", delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o644)
        Path(file.name).rename(installed)


@click.command(help=__doc__)
@click.argument("cache_dir", type=click.Path(file_okay=False, path_type=Path), default=Path(".cache"))
def main(cache_dir: Path) -> None:
    """Install from the command line."""
    try:
        runtime = ensure_runtime(cache_dir, click.echo)
    except LocalTritonError as exc:
        raise click.ClickException(str(exc)) from exc
    click.echo(f"Triton {_TRITON_VERSION} is ready in {runtime.root}")


if __name__ == "__main__":
    main()
