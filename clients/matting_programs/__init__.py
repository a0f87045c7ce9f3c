# SPDX-License-Identifier: Apache-2.0
"""Starts the programs `matting`, `matting-gateway` and `matting-load`.

What has to happen before a package is imported happens here: gRPC reads its log level as it is imported, an extra that
is not installed is named instead of raising a traceback, and Ctrl-C is heard from the first moment. Imports nothing of
the project until a program is started.
"""

import importlib
import os
import sys

_OUR_OWN = "matting"
_INTERRUPTED = 130


def matting() -> int:
    """Run `matting`."""
    # Silences gRPC's own lines about failed handshakes: the program explains them itself.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return _run("matting", "matting_client.program.cli", "")


def gateway() -> int:
    """Run `matting-gateway`."""
    return _run("matting-gateway", "matting_gateway.cli", "'matting-gateway[server]'")


def load() -> int:
    """Run `matting-load`."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return _run("matting-load", "matting_load.cli", "matting-load")


def _run(program: str, module: str, distribution: str) -> int:
    try:
        code: int | None = importlib.import_module(module).main()
    except ImportError as missing:
        if not distribution or (missing.name or "").startswith(_OUR_OWN):
            raise
        # Without a name the message is from a package of ours, and says what it needs.
        name = (missing.name or "").split(".")[0]
        message = f"{program} needs {name}: pip install {distribution}" if name else str(missing)
        print(message, file=sys.stderr)  # noqa: T201 - a program
        return 1
    except KeyboardInterrupt:  # before the program itself hears it
        return _INTERRUPTED
    return code or 0
