# SPDX-License-Identifier: Apache-2.0
"""The version of the program."""

import importlib.metadata


def own_version() -> str:
    """Return the installed version; "unknown" where the program is run from its source and never was installed."""
    try:
        return importlib.metadata.version("matting-gateway")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
