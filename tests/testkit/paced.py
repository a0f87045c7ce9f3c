# SPDX-License-Identifier: Apache-2.0
"""A model whose speed a test changes while it serves."""

import shutil
from pathlib import Path

_MODEL = Path(__file__).parent / "paced_models" / "paced"


class PacedModel:
    """One copy of the model, in a repository of a test's own, under a name of its own."""

    def __init__(self, repository: Path, name: str) -> None:
        self.name = name
        self._folder = repository / name
        shutil.copytree(_MODEL, self._folder)
        self.set_latency(0.1)

    def set_latency(self, latency_s: float) -> None:
        """Let every batch that begins from now on take so long."""
        told = self._folder / "latency_ms.next"
        told.write_text(f"{1000 * latency_s:g}")
        told.rename(self._folder / "latency_ms")  # read while it is written otherwise
