# SPDX-License-Identifier: Apache-2.0
"""Keeps the `config.pbtxt` that an entry has, or writes the one that was made for it."""

from matting_models.errors import ConfigBrokenError, InterfaceError
from matting_models.repository.config import EntryConfig, render
from matting_models.repository.config_reader import read_config
from matting_models.repository.repository import Repository
from matting_models.sources.fetch import Say


def settle_config(repository: Repository, fresh: EntryConfig, version: int, *, rewrite: bool, say: Say) -> EntryConfig:
    """Keeps the `config.pbtxt` that is there if it describes the same interface, else writes `fresh`.

    Raises:
        InterfaceError: other versions of the entry have another interface.
    """
    path = repository.config_path(fresh.name)
    others = [other for other in repository.versions(fresh.name) if other != version]
    if path.is_file() and (others or not rewrite):
        try:
            present = read_config(path)
        except ConfigBrokenError as exc:
            say(f"replacing a config.pbtxt that is broken: {exc}")
        else:
            if present.interface == fresh.interface and not rewrite:
                say(f"keeping {path}")
                return present
            if present.interface != fresh.interface and others:
                raise InterfaceError(
                    f"{fresh.name} has versions {others} with input {present.interface}, this model has "
                    f"{fresh.interface}; one entry has one interface. Add it under another --name."
                )
    repository.write_config(fresh.name, render(fresh))
    return fresh
