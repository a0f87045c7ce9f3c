# SPDX-License-Identifier: Apache-2.0
"""The version of a package of ours."""


def version_of(package: str) -> str:
    """Return the version of the distribution that brought a package: its own, or a checkout's with all of them."""
    from importlib import metadata  # noqa: PLC0415 - it takes as long to load as click, and is seldom asked

    return metadata.version(metadata.packages_distributions()[package][0])
