# SPDX-License-Identifier: Apache-2.0
"""`verify` passes a faithful entry, names what is wrong with an unfaithful one, and shows both on one page."""

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from matting_models.cli import models
from matting_models.commands import verify_command
from matting_models.commands.add import Added
from matting_models.commands.verify_command import VerifyRequest, advice_for, verify
from matting_models.errors import EntryNotFoundError, HashMismatchError
from matting_models.recipes.recipe import Recipe
from matting_models.repository.config import SIDE_BY_SIDE
from matting_models.repository.config_reader import read_config
from matting_models.repository.origin import read_origin, write_origin
from matting_models.repository.repository import Repository
from matting_models.trials.engines import OpenVinoRunner, Pixels
from matting_models.trials.pictures import photo_paths, synthetic
from matting_models.trials.reference import Reference
from matting_models.trials.report import write_contact_sheet
from matting_models.trials.verify import REDUCED, verify_entry
from matting_triton.backends.onnxruntime.even_batches import needs_even_batches
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


@pytest.mark.slow
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


@pytest.mark.slow
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


class Bf16(OpenVinoRunner):
    """OpenVINO as it is in bf16: an odd batch is computed otherwise than the same images alone."""

    def __init__(self, model: Path) -> None:
        super().__init__(model, {"INFERENCE_PRECISION_HINT": "f32"})
        self.precision = "bf16"
        self._keeps_even = needs_even_batches(takes_any_batch=True, precision="bf16", is_quantised=False)
        self.computed: list[int] = []

    def _infer(self, images: Pixels) -> Pixels:
        self.computed.append(len(images))
        answer = super()._infer(images)
        return answer if len(images) % 2 == 0 or len(images) == 1 else answer ^ np.uint8(8)


@pytest.mark.slow
def test_odd_batches_in_bf16_are_verified_as_the_backend_computes_them(
    add_net: AddNet, repository: Repository, tmp_path: Path
) -> None:
    add_net(tiny.u2net(), opset=11, preset="u2net")
    runner = Bf16(repository.model_path("entry"))
    pictures = synthetic((32, 32))
    subject = {"subject": pictures.pop("subject")}
    origin = read_origin(repository.version_folder("entry", 1))
    reference = Reference(tmp_path / "export.onnx", origin.recipe, origin.output_name)
    result = verify_entry("entry", runner, reference, subject, pictures, bounds=REDUCED)
    assert result.failures == ()
    assert [outcome.size for outcome in result.batches] == list(range(1, 9))
    assert {3, 5, 7}.isdisjoint(runner.computed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "precision", "expected"),
    [
        ({}, "bf16", "--replace --precision f32"),
        ({}, "f32", "--replace --engine onnxruntime"),
        ({"engine": "onnxruntime"}, "f32", "Make it anew"),
        ({"precision": "int8"}, "int8", "models quantize base"),
    ],
)
def test_a_failing_entry_is_told_what_to_do(
    changes: dict[str, str], precision: str, expected: str, add_net: AddNet, repository: Repository
) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    config = replace(read_config(repository.config_path("entry")), **changes)  # type: ignore[arg-type]  # all text
    origin = replace(read_origin(repository.version_folder("entry", 1)), derived_from="base")
    images = synthetic((32, 32))
    failing = verify_entry("entry", Wrong(lambda images: 255 - green(images)), Brightness(), images, {})
    assert expected in advice_for(failing, config, origin, precision)[0]
    together = verify_entry("entry", Wrong(dimmed_by_neighbours), Brightness(), images, {})
    assert any("--max-batch-size 1" in text for text in advice_for(together, config, origin, precision))
    passing = verify_entry("entry", Wrong(green), Brightness(), images, {})
    assert advice_for(passing, config, origin, precision) == ()


@pytest.mark.slow
def test_the_command_prints_what_to_do(tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = ["--repository", str(tmp_path / "repository"), "--cache", str(tmp_path / "cache")]
    export = tiny.plain().save(tmp_path / "net.onnx")
    runner = CliRunner()
    assert runner.invoke(models, [*group, "add", str(export), "--mean", "0"]).exit_code == 0
    monkeypatch.setattr(verify_command, "OpenVinoRunner", lambda *_: Wrong(lambda images: 255 - green(images)))
    failed = runner.invoke(models, [*group, "verify", "net", "--photos", str(photos)])
    assert failed.exit_code == 1
    assert "--replace --engine onnxruntime" in failed.output
    assert "--replace --engine onnxruntime" in (tmp_path / "cache/reports/net-verify.html").read_text()


def test_a_chaotic_original_is_the_measure_of_its_entry_and_called_so(tmp_path: Path) -> None:
    class Chaotic(Brightness):
        """Adds to an image's green what hangs on all of its bits."""

        def answer(self, image: Pixels) -> tuple[Pixels, bool]:
            return (image[:, :, 1] // 2 + zlib.crc32(image.tobytes()) % 101).astype(np.uint8), True

    images = {"subject": synthetic((16, 16))["subject"]}
    near = Wrong(lambda images: images[..., 1] // 2 + 50)
    result = verify_entry("entry", near, Chaotic(), images, {})
    assert result.failures == ()
    assert "chaotic" in result.notes[0]
    write_contact_sheet(tmp_path / "page.html", result)
    assert "chaotic" in (tmp_path / "page.html").read_text()
    far = Wrong(lambda images: 255 - images[..., 1] // 2)
    assert not verify_entry("entry", far, Brightness(), images, {}).passed


@pytest.mark.slow
def test_an_entry_served_side_by_side_is_computed_image_by_image(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.u2net(), opset=11, preset="u2net")
    path = repository.model_path("entry")
    images = np.stack([synthetic((32, 32), seed)["noise"] for seed in range(3)])
    together = OpenVinoRunner(path, {"INFERENCE_PRECISION_HINT": "f32", **SIDE_BY_SIDE})
    alone = OpenVinoRunner(path, {"INFERENCE_PRECISION_HINT": "f32"})
    assert together.compiled.inputs[0].get_partial_shape()[0].get_length() == 1
    assert np.abs(together.run(images).astype(int) - alone.run(images)).max() <= 1


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


@pytest.mark.slow
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
