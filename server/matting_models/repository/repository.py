# SPDX-License-Identifier: Apache-2.0
"""The model repository on disk, in Triton's layout: NAME/config.pbtxt and NAME/VERSION/model.onnx."""

import filecmp
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from matting_models.errors import EntryExistsError, EntryNotFoundError, RecipeError
from matting_models.sources.fetch import replacing

CONFIG = "config.pbtxt"
ONNX_FILE = "model.onnx"
PLAN_FILE = "model.plan"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Repository:
    """A folder of entries. Nothing is cached: the folder is the state."""

    root: Path

    def names(self) -> list[str]:
        """Names of all folders that are or were meant to be entries, sorted."""
        if not self.root.is_dir():
            return []
        return sorted(path.name for path in self.root.iterdir() if path.is_dir() and not path.name.startswith("."))

    def config_path(self, name: str) -> Path:
        return self.root / name / CONFIG

    def version_folder(self, name: str, version: int) -> Path:
        return self.root / name / str(version)

    def versions(self, name: str) -> list[int]:
        """The versions on disk, oldest first."""
        folder = self.root / name
        if not folder.is_dir():
            return []
        return sorted(int(path.name) for path in folder.iterdir() if path.is_dir() and path.name.isdecimal())

    def model_path(self, name: str, version: int | None = None) -> Path:
        """The model file of a version, the newest by default.

        Raises:
            EntryNotFoundError: there is none.
        """
        versions = self.versions(name)
        wanted = version if version is not None else (versions[-1] if versions else None)
        if wanted is not None:
            for file_name in (ONNX_FILE, PLAN_FILE):
                path = self.version_folder(name, wanted) / file_name
                if path.is_file():
                    return path
        what = f"version {wanted} of {name}" if wanted is not None else name
        raise EntryNotFoundError(
            f"{self.root} holds no model file for {what}. It has: {', '.join(self._entries()) or 'nothing'}."
        )

    def require_free(self, name: str, version: int, *, replacing: bool = False) -> None:
        """Checks that a version can be written.

        Raises:
            RecipeError: the name or version is none.
            EntryExistsError: the version has a model file and is not to be replaced.
        """
        if not _NAME.fullmatch(name):
            raise RecipeError(f"{name!r} cannot name an entry: letters, digits, '.', '_' and '-', at most 64.")
        if version < 1:
            raise RecipeError(f"Version {version} is not possible; versions begin at 1.")
        folder = self.version_folder(name, version)
        if not replacing and any((folder / file_name).exists() for file_name in (ONNX_FILE, PLAN_FILE)):
            raise EntryExistsError(
                f"{self.root} already has {name} version {version}. Choose another --name or --version, "
                f"or replace it with --replace."
            )

    @contextmanager
    def building(self, name: str, version: int) -> Iterator[Path]:
        """A folder to build a version in; it takes the version's place on success and is deleted on failure.

        Triton sees versions by their numeric names only, so what is being built is invisible to it.
        """
        target = self.version_folder(name, version)
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f"building-{version}-{os.getpid()}")
        fresh.mkdir()
        try:
            yield fresh
            old = target.with_name(f"replaced-{version}-{os.getpid()}")
            if target.exists():
                target.rename(old)
            fresh.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            if not any(target.parent.iterdir()):
                target.parent.rmdir()

    def link_twin(self, path: Path) -> bool:
        """Makes `path` a hard link to an equal model file of the repository, if there is one."""
        size = path.stat().st_size
        for candidate in sorted(self.root.glob(f"*/*/{ONNX_FILE}")):
            same = candidate.stat().st_size == size and not candidate.samefile(path)
            if same and filecmp.cmp(candidate, path, shallow=False):
                with replacing(path) as beside:
                    os.link(candidate, beside)
                return True
        return False

    def write_config(self, name: str, text: str) -> Path:
        """Writes the entry's `config.pbtxt` whole; an equal one is left as it is."""
        path = self.config_path(name)
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            with replacing(path) as beside:
                beside.write_text(text, encoding="utf-8")
        return path

    def remove(self, name: str, version: int | None = None) -> list[Path]:
        """Deletes a version, or the entry with all it holds; returns what went.

        An entry's last version takes the entry with it.

        Raises:
            EntryNotFoundError: there is none.
        """
        folder = self.root / name if version is None else self.version_folder(name, version)
        if not _NAME.fullmatch(name) or not folder.is_dir():
            present = ", ".join(self._entries()) or "nothing"
            raise EntryNotFoundError(f"{self.root} has no {folder.relative_to(self.root)}. It has: {present}.")
        if version is not None and self.versions(name) == [version]:
            folder = self.root / name
        gone = [folder, *sorted(folder.rglob("*"))]
        shutil.rmtree(folder)
        return gone

    def _entries(self) -> Iterator[str]:
        for name in self.names():
            versions = self.versions(name)
            yield f"{name} ({', '.join(map(str, versions))})" if versions else name
