# SPDX-License-Identifier: Apache-2.0
"""Shared by the tests of matting_models: a repository in a temporary folder and a way to add to it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matting_models.commands.add import Added, AddRequest, add
from matting_models.repository.repository import Repository
from matting_models.sources.catalogue import Places
from testkit.tiny_networks import Net


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "repository")


@pytest.fixture
def told() -> list[str]:
    """What was said while adding."""
    return []


@pytest.fixture
def add_net(tmp_path: Path, repository: Repository, told: list[str]) -> Callable[..., Added]:
    """Adds a network under options of AddRequest."""

    def add_it(net: Net, *, opset: int = 17, **options: Any) -> Added:
        path = net.save(tmp_path / "export.onnx", opset)
        request = AddRequest(str(path), **{"name": "entry", **options})
        return add(request, repository, Places(tmp_path / "cache"), told.append)

    return add_it
