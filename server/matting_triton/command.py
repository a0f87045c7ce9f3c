# SPDX-License-Identifier: Apache-2.0
"""The command line of a local Triton: loopback only, and nothing that keeps or copies what passes through."""

import os
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from matting_triton.errors import TritonStartError
from matting_triton.ports import LOOPBACK
from matting_triton.runtime import Runtime

# The Python backend uses /tmp whatever TMPDIR says.
_TEMPORARY_FOLDER = Path("/tmp")  # noqa: S108 -- see above; nothing is written there


class ModelControl(Enum):
    """Who decides which models are loaded, by Triton's own names.

    EXPLICIT loads all that are there at start, and then what the repository calls (load, unload) say: a model can be
    added, replaced and removed under load, at the moment somebody chooses. POLL looks at the folder every few seconds
    instead and may meet a half-copied model. NONE never changes.
    """

    EXPLICIT = "explicit"
    POLL = "poll"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Ports:
    """Where Triton listens; None switches a protocol off."""

    grpc: int
    http: int | None = None
    metrics: int | None = None


def command_line(
    runtime: Runtime,
    repository: Path,
    ports: Ports,
    *,
    shm_prefix: str,
    model_control: ModelControl = ModelControl.EXPLICIT,
    extra: tuple[str, ...] = (),
) -> list[str]:
    """Return the command that runs Triton.

    No trace, no response cache, no verbose log (which can print tensors) and no control of tracing and logging from
    outside. Readiness means "answers calls": a broken model among good ones does not make the server useless.

    Raises:
        TritonStartError: Triton's Python backend could not make its folder in /tmp, and would end without a word on it.
    """
    if not os.access(_TEMPORARY_FOLDER, os.W_OK):
        raise TritonStartError(
            "Triton's Python backend makes an empty folder in /tmp, which is read-only: let it lead to /dev/shm."
        )
    command = [
        str(runtime.tritonserver),
        f"--model-repository={repository}",
        f"--backend-directory={runtime.backends}",
        f"--backend-config=python,shm-region-prefix-name={shm_prefix}",
        f"--model-control-mode={model_control.value}",
        "--exit-on-error=false",
        "--strict-readiness=false",
        "--exit-timeout-secs=5",
        "--log-verbose=0",
        # Message objects kept for reuse would keep the last photo in memory.
        "--grpc-infer-allocation-pool-size=0",
        f"--grpc-address={LOOPBACK}",
        f"--grpc-port={ports.grpc}",
        "--reuse-grpc-port=true",
        f"--allow-http={str(ports.http is not None).lower()}",
        f"--allow-metrics={str(ports.metrics is not None).lower()}",
    ]
    if model_control is ModelControl.EXPLICIT:
        command.append("--load-model=*")
    if model_control is ModelControl.POLL:
        command.append("--repository-poll-secs=2")
    if ports.http is not None:
        command += [f"--http-address={LOOPBACK}", f"--http-port={ports.http}", "--reuse-http-port=true"]
    if ports.metrics is not None:
        command += [f"--metrics-address={LOOPBACK}", f"--metrics-port={ports.metrics}"]
    return [*command, *extra]
