# SPDX-License-Identifier: Apache-2.0
"""`python -m matting_models.setup`: the sample photos, the default model and its int8 form, each only if missing."""

from pathlib import Path

import click

from matting_models.commands.add import AddRequest, add
from matting_models.commands.quantize import METHOD_VERSION, QuantizeRequest, quantize
from matting_models.errors import ModelsError
from matting_models.repository.origin import ORIGIN_FILE, read_origin
from matting_models.repository.repository import ONNX_FILE, Repository
from matting_models.repository.variants import Variant
from matting_models.sources.catalogue import Places
from matting_models.sources.fetch import Say
from matting_models.sources.samples import ensure_samples

DEFAULT_MODEL = "u2net"


def set_up(repository: Repository, places: Places, say: Say, *, with_int8: bool = True) -> None:
    """Leaves the default model, its int8 form and the sample photos in place.

    What is there stays, but for an int8 form made in an older way than its committed configuration is for.

    Raises:
        ModelsError: a step failed; those before it stay done.
    """
    photos = tuple(ensure_samples(places.cache, say))
    say(f"sample photos: {photos[0].parent}")
    if not _is_there(repository, DEFAULT_MODEL):
        add(AddRequest(DEFAULT_MODEL, name=DEFAULT_MODEL, variant=Variant(), replace=True), repository, places, say)
    if with_int8 and not _is_of_this_method(repository, f"{DEFAULT_MODEL}-int8"):
        quantize(QuantizeRequest(DEFAULT_MODEL, photos, replace=True), repository, places.cache, say)


def _is_there(repository: Repository, name: str) -> bool:
    folder = repository.version_folder(name, 1)
    return (folder / ONNX_FILE).is_file() and (folder / ORIGIN_FILE).is_file()


def _is_of_this_method(repository: Repository, name: str) -> bool:
    return _is_there(repository, name) and read_origin(repository.version_folder(name, 1)).method == METHOD_VERSION


@click.command()
@click.option("--repository", type=click.Path(path_type=Path, file_okay=False), default=Path("model_repository"))
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), default=Path(".cache"))
@click.option("--int8/--no-int8", default=True, help="Also make the int8 form.")
def main(repository: Path, cache: Path, int8: bool) -> None:
    """Fetches the sample photos and the default model, and quantises it."""
    try:
        set_up(Repository(repository), Places.usual(cache), lambda text: click.echo(text, err=True), with_int8=int8)
    except ModelsError as exc:
        raise click.ClickException(str(exc)) from exc


if __name__ == "__main__":
    main()
