# SPDX-License-Identifier: Apache-2.0
"""The commands `models list / catalogue / add / verify / quantize / tune / remove`.

What needs the libraries of the extra `[models]` is imported when a command runs, so that the others work without.
"""
# ruff: noqa: PLC0415 -- see above

import itertools
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import click

from matting_models.errors import DependencyMissingError, ModelsError
from matting_models.recipes.recipe import Activation, Channels, Layout, Normalise
from matting_models.repository.repository import Repository
from matting_models.repository.variants import ENGINES, PRECISIONS
from matting_models.sources.catalogue import Places
from matting_models.sources.samples import ensure_samples

_EXTRA = {"numpy", "onnx", "onnxruntime", "openvino", "nncf", "PIL", "tritonclient"}
_FOLDER = click.Path(path_type=Path, file_okay=False)
_FILE = click.Path(path_type=Path, dir_okay=False)
_ANY_PATH = click.Path(path_type=Path, exists=True)


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the commands work: options of the group, which may also stand after the command."""

    repository: Repository
    cache: Path


def missing_dependency(module: str) -> DependencyMissingError:
    """What to say when a library of the extra is not installed."""
    return DependencyMissingError(
        f"This needs {module}, which is not installed. Install the extra: pip install 'matting-gateway[models]'"
    )


def say(text: str) -> None:
    """Progress goes to standard error; results to standard output."""
    click.echo(text, err=True)


def _values(kind: type[Enum]) -> click.Choice[str]:
    return click.Choice([each.value for each in kind])


class _Group(click.Group):
    """Takes its own options after the command as well, and turns errors into one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        own: list[str] = []
        others: list[str] = []
        words = iter(args)
        for word in words:
            if word in ("--repository", "--cache"):
                own += [word, *itertools.islice(words, 1)]
            elif word.startswith(("--repository=", "--cache=")):
                own.append(word)
            else:
                others.append(word)
        return super().parse_args(ctx, own + others)

    def invoke(self, ctx: click.Context) -> Any:
        """Turns this package's errors, and missing libraries of its extra, into click's own."""
        try:
            return super().invoke(ctx)
        except ImportError as exc:
            missing = (exc.name or "").partition(".")[0]
            if missing not in _EXTRA:
                raise
            raise click.ClickException(str(missing_dependency(missing))) from exc
        except ModelsError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(cls=_Group)
@click.option(
    "--repository",
    type=_FOLDER,
    default=Path("model_repository"),
    show_default=True,
    envvar="MATTING_MODEL_REPOSITORY",
    help="The model repository.",
)
@click.option(
    "--cache", type=_FOLDER, default=Path(".cache"), show_default=True, help="Downloads, reports, int8 forms."
)
@click.pass_context
def models(context: click.Context, repository: Path, cache: Path) -> None:
    """Brings models into the repository, checks, quantises and tunes them."""
    context.obj = Folders(Repository(repository), cache)


@models.command("list", short_help="List the entries, their licences, and what is wrong with one.")
@click.pass_obj
def list_command(folders: Folders) -> None:
    """Lists the entries, with licence, engine and what is wrong with one."""
    from matting_models.commands.listing import as_table, list_entries

    root = folders.repository.root
    if not root.is_dir():
        raise click.ClickException(f"{root} is no folder: name the model repository by --repository")
    for line in as_table(list_entries(folders.repository)):
        click.echo(line)


@models.command("catalogue", short_help="List the models that can be added by name.")
def catalogue_command() -> None:
    """Lists the models that can be added by name: size, input, licence, hash and where each comes from."""
    from matting_models.commands.listing import catalogue_table

    for line in catalogue_table():
        click.echo(line)


@models.command("add", short_help="Add an ONNX file, or a model by name or address.")
@click.argument("source")
@click.option("--name", default="", help="Name of the entry [default: the model's or the file's].")
@click.option("--version", type=int, default=1, show_default=True, help="Version to add it as.")
@click.option("--preset", default="", help="Family of the network [default: guessed from the graph].")
@click.option(
    "--output", "output_name", default="", help="Which output is the alpha [default: the preset's, or the first]."
)
@click.option("--size", default="", help="Pixels, 1024 or WIDTHxHEIGHT, for networks that take any size.")
@click.option("--mean", default="", help="Subtracted after scaling: one number or R,G,B.")
@click.option("--std", default="", help="Divided by after that: one number or R,G,B.")
@click.option("--scale", default="", help="What pixels are divided by first: 255, 1, or max (the image's own maximum).")
@click.option("--layout", type=_values(Layout), default=None, help="Checked against the graph.")
@click.option("--channels", type=_values(Channels), default=None, help="Colour order the network wants.")
@click.option("--activation", type=_values(Activation), default=None)
@click.option("--normalise", type=_values(Normalise), default=None, help="Stretch each alpha to 0..1.")
@click.option(
    "--resize",
    type=click.Choice(["stretch", "letterbox", "letterbox-top-left", "aspect"]),
    default=None,
    help="How photos are fitted.",
)
@click.option(
    "--multiple", type=click.IntRange(1, 256), default=None, help="Both sides are a multiple of so many pixels."
)
@click.option("--sha256", default="", help="Refuse the file unless it has this hash; needed for an address.")
@click.option("--engine", type=click.Choice(ENGINES), default=None, help="What runs it [default: openvino].")
@click.option("--precision", type=click.Choice(PRECISIONS), default=None, help="[default: auto]")
@click.option("--max-batch-size", type=click.IntRange(1, 128), default=None, help="[default: 8]")
@click.option("--license", "license_name", default="", help="Licence of the weights, as callers are told.")
@click.option("--noncommercial/--commercial", default=None, help="Whether that licence forbids commercial use.")
@click.option("--stand-in", default="", help="Entry that may answer instead under overload.")
@click.option("--replace", is_flag=True, help="Replace the version if it exists.")
@click.option(
    "--rembg-home", type=_FOLDER, multiple=True, envvar=["U2NET_HOME", "REMBG_HOME"], help="Where rembg keeps models."
)
@click.pass_obj
def add_command(folders: Folders, /, source: str, **given: Any) -> None:
    """Adds SOURCE: an ONNX file, a name of the catalogue (`models catalogue`), or an https:// address with --sha256."""
    from matting_models.commands.add import add
    from matting_models.commands.add_options import request_from

    places = Places.usual(folders.cache, given.pop("rembg_home"))
    click.echo(add(request_from(source, given), folders.repository, places, say).folder)


@models.command("verify", short_help="Compare an entry with its original file.")
@click.argument("name")
@click.option("--version", type=int, default=None, help="[default: the newest]")
@click.option("--photos", type=_ANY_PATH, multiple=True, help="Photos or folders of them [default: the sample photos].")
@click.option("--original", type=_FILE, default=None, help="The original file, where it moved.")
@click.option(
    "--engine", type=click.Choice(["onnxruntime", "openvino"]), default=None, help="[default: as the entry says]"
)
@click.option("--report", type=_FILE, default=None, help="Contact sheet [default: CACHE/reports/NAME-verify.html].")
@click.pass_obj
def verify_command(folders: Folders, /, name: str, **given: Any) -> None:
    """Compares NAME with its original: alone, in batches, on photos and on hostile pictures."""
    from matting_models.commands.verify_command import VerifyRequest, verify

    result, page = verify(VerifyRequest(name, **given), folders.repository, folders.cache, say)
    for failure in result.failures:
        click.echo(f"FAILED {failure}")
    for text in (*result.notes, *result.advice):
        click.echo(text)
    click.echo(f"{name}: {'passed' if result.passed else 'FAILED'}, {result.mean:.5f} from the original; {page}")
    if not result.passed:
        raise click.exceptions.Exit(1)


@models.command("quantize", short_help="Make an int8 form of an entry beside it.")
@click.argument("name")
@click.option("--version", type=int, default=None, help="[default: the newest]")
@click.option(
    "--photos", type=_ANY_PATH, multiple=True, help="Calibration photos or folders [default: the sample photos]."
)
@click.option("--to", "target_name", default="", help="Name of the new entry [default: NAME-int8].")
@click.option("--bound", type=float, default=0.01, show_default=True, help="Mean difference allowed, of 1.0.")
@click.option("--worst", type=float, default=0.03, show_default=True, help="Difference allowed on any photo.")
@click.option(
    "--crops", "crops_per_photo", type=click.IntRange(0, 32), default=2, show_default=True,
    help="Crops a photo beside the whole.",
)  # fmt: skip
@click.option(
    "--folds", "fold_count", type=click.IntRange(0, 16), default=0, show_default=True,
    help="Also try on photos left out.",
)  # fmt: skip
@click.option("--replace", is_flag=True, help="Replace the entry's version if it exists.")
@click.pass_obj
def quantize_command(folders: Folders, /, name: str, photos: tuple[Path, ...], **given: Any) -> None:
    """Makes NAME-int8: static int8, layers that hurt left in floating point."""
    from matting_models.commands.quantize import QuantizeRequest, quantize
    from matting_models.quantization.int8 import Bound
    from matting_models.trials.pictures import photo_paths

    chosen = photo_paths(photos) if photos else ensure_samples(folders.cache, say)
    bound = Bound(given.pop("bound"), given.pop("worst"))
    request = QuantizeRequest(name, tuple(chosen), bound=bound, **given)
    quantize(request, folders.repository, folders.cache, say)
    click.echo(request.target_name or f"{name}-int8")


@models.command("tune", short_help="Measure what is fastest here, and configure it.")
@click.argument("name")
@click.option(
    "--max-batch-size", type=click.IntRange(1, 64), default=8, show_default=True, help="Largest batch to try."
)
@click.option("--dry-run", is_flag=True, help="Measure and tell, change nothing.")
@click.pass_obj
def tune_command(folders: Folders, name: str, max_batch_size: int, dry_run: bool) -> None:
    """Measures instances, threads and batch sizes on this machine and writes the best into config.pbtxt."""
    from matting_models.commands.tune import tune

    click.echo(tune(name, folders.repository, max_batch_size, say, write=not dry_run))


@models.command("remove", short_help="Delete an entry, or one version of it.")
@click.argument("name")
@click.option("--version", type=int, default=None, help="One version only [default: the whole entry].")
@click.confirmation_option("--yes", prompt="Delete it from the repository?")
@click.pass_obj
def remove_command(folders: Folders, name: str, version: int | None) -> None:
    """Deletes NAME, or one version of it, from the repository."""
    for path in folders.repository.remove(name, version):
        click.echo(f"removed {path}")


if __name__ == "__main__":
    models()
