# SPDX-License-Identifier: Apache-2.0
"""The commands `models list / add / verify / quantize / tune / remove`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from matting_models.errors import DependencyMissingError, ModelsError

_HEAVY = {"numpy", "onnx", "onnxruntime", "openvino", "nncf", "PIL"}


@contextmanager
def telling_errors() -> Iterator[None]:
    """Turns this package's errors, and missing libraries of its extra, into one clear line."""
    try:
        yield
    except ImportError as exc:
        missing = (exc.name or "").partition(".")[0]
        if missing not in _HEAVY:
            raise
        raise click.ClickException(str(missing_dependency(missing))) from exc
    except ModelsError as exc:
        raise click.ClickException(str(exc)) from exc


def missing_dependency(module: str) -> DependencyMissingError:
    """What to say when a library of the extra is not installed."""
    return DependencyMissingError(
        f"This needs {module}, which is not installed. Install the extra: pip install 'matting-gateway[models]'"
    )


def say(text: str) -> None:
    """Progress goes to standard error; results to standard output."""
    click.echo(text, err=True)


@click.group()
@click.option(
    "--repository",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("model_repository"),
    show_default=True,
    help="The model repository.",
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".cache"),
    show_default=True,
    help="Where downloads are kept.",
)
@click.pass_context
def models(context: click.Context, repository: Path, cache: Path) -> None:
    """Brings models into the repository, checks, quantises and tunes them."""
    context.obj = (repository, cache)


@models.command("add")
@click.argument("source")
@click.option("--name", default="", help="Name of the entry [default: the model's].")
@click.option("--precision", type=click.Choice(["auto", "f32", "bf16", "f16"]), default="auto", show_default=True)
@click.option("--replace", is_flag=True, help="Replace the version if it exists.")
@click.pass_obj
def add_command(places: tuple[Path, Path], source: str, name: str, precision: str, replace: bool) -> None:
    """Adds SOURCE, an ONNX file or a name of the catalogue."""
    with telling_errors():
        from matting_models.add import AddRequest, add
        from matting_models.catalogue import Places
        from matting_models.repository import Repository

        repository, cache = places
        folder = add(
            AddRequest(source, name=name, precision=precision, replace=replace),
            Repository(repository),
            Places.usual(cache),
            say,
        )
        click.echo(f"{folder}")


if __name__ == "__main__":
    models()
