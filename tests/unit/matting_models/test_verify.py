# SPDX-License-Identifier: Apache-2.0
"""`verify` passes a faithful entry, names what is wrong with an unfaithful one, and shows both on one page."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matting_models.add import Added
from matting_models.engines import Pixels
from matting_models.errors import EntryNotFoundError, HashMismatchError
from matting_models.origin import read_origin, write_origin
from matting_models.pictures import photo_paths, synthetic
from matting_models.recipe import Recipe
from matting_models.reference import Reference
from matting_models.report import write_contact_sheet
from matting_models.repository import Repository
from matting_models.verify import REDUCED, verify_entry
from matting_models.verify_command import VerifyRequest, verify
from PIL import Image
from testkit import tiny_networks as tiny

AddNet = Callable[..., Added]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, image in synthetic((48, 40), seed=3).items():
        if name in ("subject", "noise"):
            Image.fromarray(image).save(folder / f"{name}.png")
    Image.new("RGBA", (20, 20), (255, 0, 0, 128)).save(folder / "clear.webp")
    return folder


def test_a_faithful_entry_passes_on_both_engines(
    add_net: AddNet, repository: Repository, photos: Path, tmp_path: Path
) -> None:
    add_net(tiny.u2net(), opset=11, preset="u2net")
    for engine in ("onnxruntime", "openvino"):
        result, page = verify(VerifyRequest("entry", photos=(photos,), engine=engine), repository, tmp_path, print)
        # OpenVINO may compute in 16 bits here, which the bounds allow for.
        assert result.failures == ()
        assert [outcome.size for outcome in result.batches] == list(range(1, 9))
        text = page.read_text()
        assert "passed" in text
        assert text.count("<img") == 4 * len(result.pictures)
        assert "http" not in text.replace("http-equiv", "")


def test_an_entry_that_takes_single_calls_is_tried_alone(
    add_net: AddNet, repository: Repository, photos: Path, tmp_path: Path
) -> None:
    add_net(tiny.ben2(), preset="ben2")
    request = VerifyRequest("entry", photos=(photos,), engine="onnxruntime")
    result, _ = verify(request, repository, tmp_path, print)
    assert [outcome.size for outcome in result.batches] == [1]


class Wrong:
    """An entry that answers wrongly in one of several ways."""

    name = "wrong"
    precision = "f32"

    def __init__(self, wrong: Callable[[Pixels], Pixels]) -> None:
        self._wrong = wrong

    def run(self, images: Pixels) -> Pixels:
        return self._wrong(images)


class Brightness(Reference):
    """An original that answers an image's green."""

    def __init__(self) -> None:
        pass

    def answer(self, image: Pixels) -> tuple[Pixels, bool]:
        return image[:, :, 1], True


def green(images: Pixels) -> Pixels:
    return images[..., 1].copy()


def test_a_picture_that_does_not_count_is_in_no_average_and_says_so(tmp_path: Path) -> None:
    pictures = synthetic((16, 16))
    flat = {"grey": np.full((16, 16, 3), 128, np.uint8)}

    def wrong_where_nothing_is(images: Pixels) -> Pixels:
        return np.where(np.ptp(images, axis=(1, 2))[..., 1][:, None, None] == 0, 0, green(images))

    result = verify_entry(
        "entry", Wrong(wrong_where_nothing_is), Brightness(), {"subject": pictures["subject"]}, flat, bounds=REDUCED
    )
    assert (result.passed, result.mean) == (True, 0.0)
    write_contact_sheet(tmp_path / "page.html", result)
    assert (tmp_path / "page.html").read_text().count("does not count") == 1


def dimmed_by_neighbours(images: Pixels) -> Pixels:
    return green(images) // len(images)


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        (dimmed_by_neighbours, "differ by up to"),
        (lambda images: np.zeros_like(green(images)), "all transparent or all opaque"),
        (lambda images: np.full_like(green(images), 255), "all transparent or all opaque"),
        (lambda images: 255 - green(images), "on average"),
        (lambda images: green(images)[:, :-1], "shape"),
        (lambda images: green(images)[::-1], "batch of 8"),
    ],
)
def test_what_is_wrong_is_named(wrong: Callable[[Pixels], Pixels], expected: str) -> None:
    images = synthetic((32, 32))
    constants = {name: images.pop(name) for name in ("black", "grey", "white")}
    result = verify_entry("entry", Wrong(wrong), Brightness(), images, constants)
    assert not result.passed
    assert any(expected in failure for failure in result.failures)


def test_an_original_that_sees_nothing_anywhere_is_a_failure() -> None:
    class Blind(Brightness):
        def answer(self, image: Pixels) -> tuple[Pixels, bool]:
            return np.zeros_like(image[:, :, 1]), True

    images = synthetic((32, 32))
    result = verify_entry("entry", Wrong(lambda images: np.zeros_like(green(images))), Blind(), images, {})
    assert any("recipe" in failure for failure in result.failures)


def test_failures_are_on_the_page(tmp_path: Path) -> None:
    result = verify_entry("a<b", Wrong(lambda images: 255 - green(images)), Brightness(), synthetic((32, 32)), {})
    page = tmp_path / "page.html"
    write_contact_sheet(page, result)
    text = page.read_text()
    assert "FAILED" in text
    assert "a&lt;b" in text


def test_an_original_that_changed_or_went_away_is_told(
    add_net: AddNet, repository: Repository, photos: Path, tmp_path: Path
) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    request = VerifyRequest("entry", photos=(photos,))
    export = tmp_path / "export.onnx"
    export.write_bytes(export.read_bytes() + b"\0")
    with pytest.raises(HashMismatchError):
        verify(request, repository, tmp_path, print)
    export.unlink()
    with pytest.raises(EntryNotFoundError, match="--original"):
        verify(request, repository, tmp_path, print)


def test_what_an_entry_was_made_of_is_kept(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.modnet(), preset="modnet")
    folder = repository.model_path("entry").parent
    origin = read_origin(folder)
    write_origin(folder, replace(origin, derived_from="other"))
    assert read_origin(folder) == replace(origin, derived_from="other")
    (folder / "origin.json").write_text("{}")
    with pytest.raises(EntryNotFoundError):
        read_origin(folder)


def test_photos_are_files_or_folders_of_them(photos: Path) -> None:
    assert [path.name for path in photo_paths([photos])] == ["clear.webp", "noise.png", "subject.png"]
    assert photo_paths([photos / "noise.png"]) == [photos / "noise.png"]
