# SPDX-License-Identifier: Apache-2.0
"""Whether results can be composed here, and by what; the bare install cannot."""

from matting_client.cutout import Composer
from matting_client.photos import OutputSpec

NEEDED = ("numpy", "PIL", "cv2")


def why_not_local() -> str:
    """Say why nothing can be composed here; empty where it can."""
    return "local composition needs the extra [pixels]"


def local_composer(spec: OutputSpec) -> Composer:
    """Return what makes the finished file of a photo and its alpha."""
    raise NotImplementedError
