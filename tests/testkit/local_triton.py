# SPDX-License-Identifier: Apache-2.0
"""Where the tests' Triton and its models are."""

import shutil
from collections.abc import Iterable
from pathlib import Path

# A Triton repository of small models written in Python; each model.py says what it answers.
TEST_MODELS = Path(__file__).parent / "models"
# Without it Triton starts each Python model twice, the first time only to ask for what its configuration leaves out.
QUICK_START = ("--disable-auto-complete-config",)
CACHE_DIR = Path(__file__).parents[2] / ".cache"


def copy_models(names: Iterable[str], repository: Path) -> Path:
    """Copy some of the test models into a repository of a test's own; return it."""
    for name in names:
        shutil.copytree(TEST_MODELS / name, repository / name)
    return repository


def segments(prefix: str) -> list[str]:
    """Return the names of the shared-memory segments that begin with `prefix`."""
    return sorted(path.name for path in Path("/dev/shm").iterdir() if path.name.startswith(prefix))
