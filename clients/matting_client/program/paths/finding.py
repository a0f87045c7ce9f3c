# SPDX-License-Identifier: Apache-2.0
"""Which photos the arguments of `matting cutout` mean: files, folders, patterns, standard input."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from matting_client.formats import FORMAT_OF_SUFFIX

PHOTO_SUFFIXES = frozenset((*FORMAT_OF_SUFFIX, ".heic", ".heif", ".gif", ".tif", ".tiff", ".bmp"))
STANDARD = "-"


@dataclass(frozen=True, slots=True)
class Found:
    """A photo, and its place below the folder or pattern that it was found by; `searched`: found in a folder."""

    source: Path | None
    relative: Path
    searched: bool = False


def find_photos(inputs: Sequence[str], out: str, *, recursive: bool) -> list[Found]:
    """Return the photos that the arguments mean, in their order.

    A folder means the photos in it, and with `recursive` all below it too, but neither hidden ones nor what lies in
    the folder `out`. What is no file and has one of `*?[` is a pattern, where `**` means any folders.

    Raises:
        ValueError: An input is missing, or means no photo; a name is empty; standard input is named twice.
    """
    if "" in inputs or not out:
        raise ValueError("the name of a photo or of the result is empty, as that of an unset variable is")
    if inputs.count(STANDARD) > 1:
        raise ValueError("standard input (-) holds one photo, and is named twice")
    found = [photo for text in inputs for photo in _of_input(text, Path(out), recursive)]
    return list({photo.source: photo for photo in found}.values())  # one that is meant twice is done once


def with_folders_below(inputs: Sequence[str], out: str) -> list[str]:
    """Return the inputs that are folders with others in them, beside hidden ones and the folder `out`."""
    return [text for text in inputs if Path(text).is_dir() and _folders_below(Path(text), Path(out))]


def _of_input(text: str, out: Path, recursive: bool) -> list[Found]:
    path = Path(text)
    if text == STANDARD:
        return [Found(None, Path("stdin"))]
    if path.is_dir():
        return _of_folder(path, out, recursive)
    if os.path.lexists(path):
        return [Found(path, Path(path.name))]
    if glob.has_magic(text):
        return _of_pattern(text)
    raise ValueError(f"{text} does not exist")


def _of_folder(folder: Path, out: Path, recursive: bool) -> list[Found]:
    below = sorted(each.relative_to(folder) for each in _walk(folder, out, recursive))
    if below:
        return [Found(folder / relative, relative, searched=True) for relative in below]
    if not recursive and _folders_below(folder, out):
        raise ValueError(f"{folder} holds no photo itself; --recursive looks into the folders below it as well")
    raise ValueError(f"{folder} holds no photo ({', '.join(sorted(PHOTO_SUFFIXES))})")


def _walk(folder: Path, out: Path, recursive: bool) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        here = Path(place)
        folders[:] = _folders_below(here, out) if recursive else []
        for name in names:
            if name[0] != "." and Path(name).suffix.lower() in PHOTO_SUFFIXES and (here / name).is_file():
                yield here / name


def _folders_below(folder: Path, out: Path) -> list[str]:
    results = out.resolve()
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False) and entry.name[0] != "."]
    return [name for name in names if (folder / name).resolve() != results]


def _of_pattern(pattern: str) -> list[Found]:
    parts = Path(pattern).parts
    plain = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:plain])
    names = sorted(glob.glob(str(Path(*parts[plain:])), root_dir=root, recursive=True))
    photos = [name for name in names if Path(name).suffix.lower() in PHOTO_SUFFIXES and (root / name).is_file()]
    if not photos:
        raise ValueError(f"{pattern} matches no photo")
    return [Found(root / name, Path(name)) for name in photos]
