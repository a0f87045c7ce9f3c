# SPDX-License-Identifier: Apache-2.0
"""Whether results can be composed here, and by what; the bare install cannot."""

import importlib
import importlib.util
from typing import Protocol, cast

from matting_client.answers import Answer
from matting_client.photos import OutputSpec

_NEEDED = {"numpy": "numpy", "PIL": "pillow", "cv2": "opencv-python-headless", "scipy": "scipy"}


class Composer(Protocol):
    """Makes the finished file of a photo from an alpha of it; `matting_client.compose.LocalComposer`."""

    def alpha_spec(self, photo: bytes) -> OutputSpec:
        """Return the alpha to ask for; raises ValueError where the photo cannot be read here."""

    def compose(self, photo: bytes, answer: Answer) -> bytes:
        """Return the finished file; raises ValueError where it cannot be made here."""


def why_not_local() -> str:
    """Say why nothing can be composed here; empty where it can."""
    missing = [package for module, package in _NEEDED.items() if importlib.util.find_spec(module) is None]
    if not missing:
        return ""
    return f"{', '.join(missing)} not installed here (pip install 'matting-client[pixels]')"


def local_composer(spec: OutputSpec) -> Composer:
    """Return what makes the finished files; imports what the bare install has not."""
    module = importlib.import_module("matting_client.compose")
    return cast("Composer", module.LocalComposer(spec))
