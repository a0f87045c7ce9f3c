# SPDX-License-Identifier: Apache-2.0
"""Which files `matting cutout` reads and writes."""

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PHOTO_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic", ".heif", ".gif", ".tif", ".tiff", ".bmp")
)
SUFFIX_OF_FORMAT = {"png": ".png", "webp": ".webp", "jpeg": ".jpg", "avif": ".avif"}
FORMAT_OF_SUFFIX = {".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg", ".avif": "avif"}


@dataclass(frozen=True, slots=True)
class FileJob:
    """One photo to read and the file to write."""

    source: Path
    target: Path


def plan_files(inputs: Sequence[str], out: str, kind: str, file_format: str) -> list[FileJob]:
    """Say what becomes of each photo.

    One file goes to the file `out`, or into it where it is a folder or ends with a slash. Several,
    and folders (searched with all below them), go into the folder `out`, which keeps their tree;
    names get the kind of result, and their own suffix where they would otherwise collide.

    Raises:
        ValueError: An input is missing, a folder holds no photo, or a result would overwrite a photo.
    """
    found = [(Path(path), relative) for path in inputs for relative in _photos(Path(path))]
    target = Path(out)
    single = len(inputs) == 1 and not Path(inputs[0]).is_dir()
    if single and not target.is_dir() and not out.endswith(("/", os.sep)):
        jobs = [FileJob(found[0][0], target)]
    else:
        if target.exists() and not target.is_dir():
            raise ValueError(f"{out} is a file: several photos need a folder to go to")
        jobs = _into_folder(found, target, kind, file_format)
    sources = {job.source.resolve() for job in jobs}
    for job in jobs:
        if job.target.resolve() in sources:
            raise ValueError(f"{job.target} is one of the photos: choose another place for the results")
    return jobs


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it is either the old one or the new one, never half of it.

    Raises:
        OSError: The folder or the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".matting-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files for their owner only; a result gets the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        Path(temporary).chmod(0o666 & ~mask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _photos(path: Path) -> list[Path]:
    """Return the photos of an input, relative to it; a file is its own name."""
    if path.is_dir():
        below = sorted(each for each in path.rglob("*") if each.suffix.lower() in PHOTO_SUFFIXES and each.is_file())
        if not below:
            raise ValueError(f"{path} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))})")
        return [each.relative_to(path) for each in below]
    if not path.exists():
        raise ValueError(f"{path} does not exist")
    return [Path(path.name)]


def _into_folder(found: list[tuple[Path, Path]], folder: Path, kind: str, file_format: str) -> list[FileJob]:
    stems = Counter(relative.with_suffix("") for _, relative in found)
    jobs: list[FileJob] = []
    taken: set[Path] = set()
    for path, relative in found:
        name = relative.name if stems[relative.with_suffix("")] > 1 else relative.stem
        target = folder / relative.parent / f"{name}-{kind}{SUFFIX_OF_FORMAT[file_format]}"
        if target in taken:
            raise ValueError(f"two photos would both become {target}: give them one folder each")
        taken.add(target)
        jobs.append(FileJob(path / relative if path.is_dir() else path, target))
    return jobs
