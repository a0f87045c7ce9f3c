# SPDX-License-Identifier: Apache-2.0
"""The version of a package of ours."""

from importlib import metadata


def version_of(package: str) -> str:
    """Return the version of the distribution that brought a package: its own, or a checkout's with all of them."""
    return metadata.version(metadata.packages_distributions()[package][0])
