# SPDX-License-Identifier: Apache-2.0
"""The repository on disk: listing, several versions, removing; and the commands around it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from matting_models.cli import missing_dependency, models
from matting_models.commands.add import Added
from matting_models.commands.listing import list_entries
from matting_models.errors import EntryNotFoundError
from matting_models.recipes.recipe import Fit, Normalise, Recipe
from matting_models.repository.origin import read_origin
from matting_models.repository.repository import Repository
from matting_models.trials.pictures import synthetic
from PIL import Image
from testkit import tiny_networks as tiny

AddNet = Callable[..., Added]


@pytest.mark.slow
def test_a_broken_entry_does_not_hide_the_good_ones(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), name="good", recipe=Recipe())
    add_net(tiny.plain(), name="broken", recipe=Recipe())
    repository.config_path("broken").write_text("name: {{{")
    (repository.root / "empty").mkdir()
    listed = {entry.name: entry for entry in list_entries(repository)}
    assert listed["good"].problem == ""
    assert "line 1" in listed["broken"].problem
    assert "does not exist" in listed["empty"].problem


def test_an_entry_without_its_file_says_how_to_get_it(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    repository.model_path("entry").unlink()
    assert "no model file" in list_entries(repository)[0].problem


def test_a_config_of_another_name_is_told(add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    path = repository.config_path("entry")
    path.write_text(path.read_text().replace('name: "entry"', 'name: "other"'))
    assert "other" in list_entries(repository)[0].problem


@pytest.mark.slow
def test_the_newest_version_is_taken_unless_one_is_named(add_net: AddNet, repository: Repository) -> None:
    for version in (1, 2, 10):
        add_net(tiny.plain(), recipe=Recipe(), version=version)
    assert repository.model_path("entry").parent.name == "10"
    assert repository.model_path("entry", 2).parent.name == "2"
    with pytest.raises(EntryNotFoundError, match=r"1, 2, 10"):
        repository.model_path("entry", 3)


@pytest.mark.slow
def test_a_version_is_removed_and_the_last_takes_the_entry_with_it(add_net: AddNet, repository: Repository) -> None:
    for version in (1, 2):
        add_net(tiny.plain(), recipe=Recipe(), version=version)
    repository.remove("entry", 1)
    assert repository.versions("entry") == [2]
    repository.remove("entry", 2)
    assert repository.names() == []


@pytest.mark.parametrize(("name", "version"), [("nothing", None), ("entry", 5), ("..", None)])
def test_removing_what_is_not_there(name: str, version: int | None, add_net: AddNet, repository: Repository) -> None:
    add_net(tiny.plain(), recipe=Recipe())
    with pytest.raises(EntryNotFoundError):
        repository.remove(name, version)
    assert repository.versions("entry") == [1]


@pytest.mark.slow
def test_the_commands_from_adding_to_removing(tmp_path: Path) -> None:
    export = tiny.birefnet().save(tmp_path / "net.onnx")
    runner = CliRunner()
    group = ["--repository", str(tmp_path / "repository"), "--cache", str(tmp_path / "cache")]

    added = runner.invoke(models, [*group, "add", str(export), "--preset", "birefnet", "--max-batch-size", "2"])
    assert added.exit_code == 0, added.output
    listed = runner.invoke(models, [*group, "list"])
    assert "net " in listed.output
    assert "MIT" in listed.output
    again = runner.invoke(models, [*group, "add", str(export), "--preset", "birefnet"])
    assert again.exit_code == 1
    assert "already has net version 1" in again.output
    removed = runner.invoke(models, [*group, "remove", "net", "--yes"])
    assert removed.exit_code == 0, removed.output
    assert "net" not in runner.invoke(models, [*group, "list"]).output


def test_the_repository_may_be_named_after_the_command(tmp_path: Path) -> None:
    (tmp_path / "here" / "net").mkdir(parents=True)
    for words in (["list", "--repository", str(tmp_path / "here")], ["list", f"--repository={tmp_path / 'here'}"]):
        listed = CliRunner().invoke(models, words)
        assert listed.exit_code == 0, listed.output
        assert "net" in listed.output
    assert CliRunner().invoke(models, ["list", "--repository"]).exit_code == 2


def test_a_repository_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    listed = CliRunner().invoke(models, ["list", "--repository", str(tmp_path / "gone")])
    assert listed.exit_code == 1
    assert "gone is no folder: name the model repository by --repository" in listed.output


def test_a_model_that_is_nearly_named_is_asked_after(tmp_path: Path) -> None:
    added = CliRunner().invoke(models, ["add", "u2nett", "--repository", str(tmp_path)])
    assert added.exit_code == 1
    assert "Did you mean u2net?" in added.output


@pytest.mark.slow
def test_the_command_quantize_takes_its_options(tmp_path: Path) -> None:
    export = tiny.u2net(width=16, depth=4).save(tmp_path / "net.onnx", 11)
    photo = tmp_path / "photo.png"
    Image.fromarray(synthetic((48, 48))["subject"]).save(photo)
    group = ["--repository", str(tmp_path / "repository"), "--cache", str(tmp_path / "cache")]
    runner = CliRunner()
    assert runner.invoke(models, [*group, "add", str(export), "--preset", "u2net"]).exit_code == 0
    options = ["--photos", str(photo), "--crops", "1", "--bound", "0.5", "--worst", "0.5", "--to", "small"]
    quantized = runner.invoke(models, [*group, "quantize", "net", *options])
    assert quantized.exit_code == 0, quantized.output
    assert "small" in runner.invoke(models, [*group, "list"]).output


def test_options_reach_the_recipe(tmp_path: Path) -> None:
    export = tiny.plain().save(tmp_path / "net.onnx")
    group = ["--repository", str(tmp_path / "repository"), "--cache", str(tmp_path / "cache")]
    options = ["--mean", "0.5", "--std", "0.5", "--scale", "255", "--normalise", "min-max", "--resize", "letterbox"]
    added = CliRunner().invoke(models, [*group, "add", str(export), *options, "--license", "MIT"])
    assert added.exit_code == 0, added.output
    recipe = read_origin(Repository(tmp_path / "repository").version_folder("net", 1)).recipe
    half = (0.5, 0.5, 0.5)
    assert (recipe.mean, recipe.std, recipe.scale) == (half, half, 255.0)
    assert (recipe.normalise, recipe.fit) == (Normalise.MIN_MAX, Fit.LETTERBOX)
    wrong = CliRunner().invoke(models, [*group, "add", str(export), "--name", "b", *options, "--layout", "nhwc"])
    assert wrong.exit_code == 1
    assert "--layout" in wrong.output


def test_a_missing_library_names_the_extra() -> None:
    assert "matting-gateway[models]" in str(missing_dependency("onnx"))


@pytest.mark.slow
def test_listing_and_removing_need_none_of_the_heavy_libraries() -> None:
    code = (
        "import sys, matting_models.cli, matting_models.commands.listing, matting_models.repository.repository;"
        "print(sorted({'onnx', 'onnxruntime', 'openvino', 'nncf', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
