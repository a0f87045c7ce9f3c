# SPDX-License-Identifier: Apache-2.0
"""Which files `matting cutout` writes: decided before anything is sent, so that nothing is lost half-way."""

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from matting_client.formats import FILE_FORMATS, FORMAT_OF_SUFFIX, FileFormat
from matting_client.program.paths.finding import PHOTO_SUFFIXES, STANDARD, Found

# What becomes of a result whose file is there already.
Existing: TypeAlias = Literal["refuse", "skip", "overwrite"]


@dataclass(frozen=True, slots=True)
class FileJob:
    """One photo to read and the file to write; None is standard input, and standard output."""

    source: Path | None
    target: Path | None

    @property
    def source_name(self) -> str:
        return "standard input" if self.source is None else str(self.source)

    @property
    def target_name(self) -> str:
        return "standard output" if self.target is None else str(self.target)


def is_one_file(found: Sequence[Found], out: str) -> bool:
    """Whether the result of these photos is the one file `out`.

    Raises:
        ValueError: `out` is a file, and there are several photos.
    """
    if out.endswith(("/", os.sep)) or Path(out).is_dir():
        return False
    single = len(found) == 1 and not found[0].searched
    if single:
        return True
    several = "the photos of a folder" if len(found) == 1 else "several photos"
    if out == STANDARD:
        raise ValueError(f"standard output holds one result: {several} need a folder to go to")
    if Path(out).exists() or Path(out).suffix:
        raise ValueError(f"{out} is a file: {several} need a folder to go to ({out}/ would be one)")
    return False


def choose_format(out: str, given: FileFormat | None, *, one_file: bool) -> FileFormat:
    """Return the file format: the one given, or what the suffix of `out` says.

    Raises:
        ValueError: The two contradict, or there is neither.
    """
    if not one_file or out == STANDARD:
        return given or "png"
    suffix = Path(out).suffix.lower()
    by_suffix = FORMAT_OF_SUFFIX.get(suffix)
    known = ", ".join(FORMAT_OF_SUFFIX)
    if given:
        if by_suffix != given and suffix in PHOTO_SUFFIXES:
            raise ValueError(f"{out} is not named as the {given} that --format asks for")
    elif by_suffix is None and not _is_written_through(Path(out)):
        if suffix:
            under_any = "" if suffix in PHOTO_SUFFIXES else "; with --format it is written under this name"
            raise ValueError(f"{out}: a result is {known}, and not {suffix}{under_any}")
        raise ValueError(f"{out} has no suffix to say what it is: {known}; {out}/ is a folder, or give --format")
    return given or by_suffix or "png"


def plan_files(
    found: Sequence[Found], out: str, kind: str, file_format: FileFormat, *, one_file: bool
) -> list[FileJob]:
    """Say what becomes of each photo.

    One goes to the file `out`. Several, and those of folders, go into the folder `out`, which keeps their tree;
    names get the kind of result, and their own suffix where they would otherwise collide. Of a folder that holds
    its own results, these are not taken for photos.

    Raises:
        ValueError: Results would overwrite one another or a photo, or cannot be files where they are to be.
    """
    if one_file:
        jobs = [FileJob(found[0].source, None if out == STANDARD else Path(out))]
    else:
        jobs = _into_folder(found, Path(out), kind, file_format)
        made = {job.target for job in jobs}
        jobs = [job for photo, job in zip(found, jobs, strict=True) if not (photo.searched and job.source in made)]
    sources = {_identity(job.source) for job in jobs if job.source is not None}
    for job in jobs:
        if job.target is not None and not _is_written_through(job.target):
            if _identity(job.target) in sources:
                raise ValueError(f"{job.target} is one of the photos: choose another place for the results")
            _check_place(job.target)
    return jobs


def settle_existing(jobs: Sequence[FileJob], existing: Existing) -> tuple[list[FileJob], list[FileJob]]:
    """Return the jobs that are to be done, and those that are not because their result is there.

    An empty file is no result. Pipes and devices are written, never replaced.

    Raises:
        ValueError: Results are there, and nothing was said of them.
    """
    there = [job for job in jobs if job.target is not None and _holds_something(job.target)]
    if existing == "overwrite" or not there:
        return list(jobs), []
    if existing == "refuse":
        more = f" and {len(there) - 1} other results are" if len(there) > 1 else " is"
        raise ValueError(
            f"{there[0].target}{more} there already: --overwrite replaces what is there, --skip-existing leaves it"
        )
    kept = set(there)
    return [job for job in jobs if job not in kept], there


def _into_folder(found: Sequence[Found], folder: Path, kind: str, file_format: FileFormat) -> list[FileJob]:
    stems = Counter(photo.relative.with_suffix("") for photo in found)
    jobs: list[FileJob] = []
    taken: set[Path] = set()
    for photo in found:
        relative = photo.relative
        name = relative.name if stems[relative.with_suffix("")] > 1 else relative.stem
        target = folder / relative.parent / f"{name}-{kind}{FILE_FORMATS[file_format].suffixes[0]}"
        if target in taken:
            raise ValueError(f"two photos would both become {target}: give them one folder each")
        taken.add(target)
        jobs.append(FileJob(photo.source, target))
    return jobs


def _check_place(target: Path) -> None:
    if target.is_dir():
        raise ValueError(f"{target} is a folder, where the result would be a file")
    nearest = next(place for place in target.absolute().parents if place.exists())
    if not nearest.is_dir():
        raise ValueError(f"{target} cannot be written: {nearest} is no folder")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"{target} cannot be written: nothing may be made in {nearest}")


def _identity(path: Path) -> object:
    """Return what tells a file from others, whichever of its names it is called by."""
    try:
        status = path.stat()
    except OSError:
        return os.path.realpath(path)
    return status.st_dev, status.st_ino


def _is_written_through(path: Path) -> bool:
    """Whether a path is a pipe or a device, which is written and has nothing to be replaced."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _holds_something(path: Path) -> bool:
    return not _is_written_through(path) and path.exists() and path.stat().st_size > 0
