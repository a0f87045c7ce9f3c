# SPDX-License-Identifier: Apache-2.0
"""The environment that the process must have been started with.

Some of what keeps the promises is read by libraries before any of our code runs, or once and for
all: the allocator's settings by glibc, the cipher suites by grpc. So the program starts itself
over once, in the same process, with the right environment.
"""

import os
import sys
from collections.abc import Mapping

# Freed memory is overwritten with this byte (mallopt(3), M_PERTURB), and new memory with its complement.
SCRUB_BYTE = 90

# Towards Tritons (the doors have a setting for it). A suite that needs a pre-shared key, which neither end ever has: no
# TLS 1.2 handshake can succeed, whatever the certificate's kind of key. Those of TLS 1.3 are not subject to the list.
_NO_TLS_1_2 = "ECDHE-PSK-AES128-CBC-SHA"

_TUNABLES = {
    # The per-thread caches sit before the overwriting: chunks up to 1,032 bytes would pass unscathed.
    "glibc.malloc.tcache_count": "0",
    "glibc.malloc.trim_threshold": str(64 << 20),
}
# Blocks of at least so many bytes go back to the system when they are freed (cleared by it), smaller ones are
# overwritten and used again. An engine asks for the same large blocks with every batch: it gets the most that glibc
# takes, as page faults would cost it 30% more CPU instead of 5%.
_ENGINE_TUNABLES = {"glibc.malloc.mmap_threshold": str(32 << 20)}
# The gateway's large blocks are pixels and files of large photos. Kept in the arenas of its threads they would stay
# until the next large photo, some tens of megabytes for each thread. And of the arenas of threads glibc gives nothing
# back before 64 MiB of one are free: all threads share one, and wait for the interpreter far longer.
_GATEWAY_TUNABLES = {"glibc.malloc.mmap_threshold": str(2 << 20), "glibc.malloc.arena_max": "1"}

_ALWAYS = {
    "GRPC_SSL_CIPHER_SUITES": _NO_TLS_1_2,
    # grpc's own log names peers in full, on standard error.
    "GRPC_VERBOSITY": "NONE",
    # Numpy's threads for algebra never have work here: there is a worker for each core, and each would start one for
    # each core, which spins for a tenth of a second and more.
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# grpc's tracers print payloads; Pillow would keep blocks of freed images for later.
_NEVER = ("GRPC_TRACE", "PILLOW_BLOCKS_MAX", "PILLOW_BLOCK_SIZE")


def scrub_environment(environ: Mapping[str, str], particular: Mapping[str, str] = _ENGINE_TUNABLES) -> dict[str, str]:
    """Return the variables that make glibc overwrite what is freed, or give it back from a size on."""
    tunables = dict(
        entry.split("=", 1) for entry in environ.get("GLIBC_TUNABLES", "").split(":") if entry.count("=") == 1
    )
    others = {name: value for name, value in tunables.items() if name not in _GATEWAY_TUNABLES}
    joined = ":".join(f"{name}={value}" for name, value in {**others, **_TUNABLES, **particular}.items())
    return {"MALLOC_PERTURB_": str(SCRUB_BYTE), "GLIBC_TUNABLES": joined, "PYTHONMALLOC": "malloc"}


def required_environment(environ: Mapping[str, str], *, scrub_memory: bool) -> dict[str, str]:
    """Return the whole environment to run in: the given one, with what the promises need."""
    kept = {name: value for name, value in environ.items() if name not in _NEVER}
    return kept | _ALWAYS | (scrub_environment(environ, _GATEWAY_TUNABLES) if scrub_memory else {})


def start_over_with(environ: Mapping[str, str]) -> None:
    """Replace the running program by itself in another environment. Does not return."""
    sys.stdout.flush()
    sys.stderr.flush()
    arguments = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, arguments, dict(environ))  # noqa: S606 - our own program with our own arguments
