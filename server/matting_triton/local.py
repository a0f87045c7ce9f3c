# SPDX-License-Identifier: Apache-2.0
"""One Triton on this machine, from start to clean end."""

import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from matting_triton import shepherd
from matting_triton.command import ModelControl, Ports, command_line
from matting_triton.errors import ModelLoadError, PortTakenError, RepositoryMissingError, TritonStartError
from matting_triton.logs import LogCallable, LogLineCallable
from matting_triton.ports import LOOPBACK, HeldPort, ReadinessProbe
from matting_triton.process import ShepherdedProcess
from matting_triton.runtime import Runtime

# The backend knows its own segments by it (backends/onnxruntime/model.py).
_SHM_PREFIX = "matting_triton_"
# What it said before it was ready is in the pipe already; a log that was told to be silent says nothing.
_WORDS_PATIENCE_S = 1.0


class LocalTriton:
    """Runs a Triton on the loopback interface, behind a shepherd process that cleans up after it.

    Owns the process (with one stub for each instance of a Python model), its shared-memory segments and the held ports.
    Invariants: after `stop` none of them is left; they are gone as well soon after this process dies, in whatever way.
    One thread at a time starts, restarts and stops it; the rest is for any. As a context manager, it is ready inside.

    Args:
        runtime: From `ensure_runtime`.
        repository: Triton model repository.
        grpc_port: Port of 127.0.0.1; 0 for any free one. It stays the same over restarts.
        http_port: None for no HTTP at all, 0 for any free port.
        metrics_port: None for no Prometheus endpoint, 0 for any free port.
        model_control: Who decides which models are loaded.
        environment: Added to the small environment Triton gets (nothing is inherited): allocator settings, thread
            counts, CUDA's variables.
        log: Gets each line that Triton writes, on a thread of its own.
        tell: Gets, on that thread, the notable lines, redacted: see `LogLine`.
        on_end: Called on that thread whenever the process has ended, asked to or not.
        grace_s: Seconds between SIGTERM and SIGKILL. Triton needs about 3 to unload its models; nothing is lost when
            it is killed instead, so a caller that has drained it can say 0.
        extra_arguments: More options of `tritonserver`.
    """

    def __init__(
        self,
        runtime: Runtime,
        repository: Path,
        *,
        grpc_port: int = 0,
        http_port: int | None = None,
        metrics_port: int | None = None,
        model_control: ModelControl = ModelControl.EXPLICIT,
        environment: Mapping[str, str] | None = None,
        log: LogCallable | None = None,
        tell: LogLineCallable | None = None,
        on_end: Callable[[], None] | None = None,
        grace_s: float = 8.0,
        extra_arguments: tuple[str, ...] = (),
    ) -> None:
        self._runtime = runtime
        self._repository = repository.absolute()
        self._wanted = (grpc_port, http_port, metrics_port)
        self._model_control = model_control
        self._environment = dict(environment or {})
        self._log = log
        self._tell = tell
        self._notify = on_end
        self._grace_s = grace_s
        self._extra_arguments = extra_arguments
        self._held: list[HeldPort] = []
        self._ports: Ports | None = None
        self._process: ShepherdedProcess | None = None
        self._shm_prefix = ""
        self._news = threading.Event()

    def start(self) -> None:
        """Start the processes and return at once; `wait_ready` tells when it serves.

        Raises:
            RepositoryMissingError: No such folder.
            PortTakenError: A port asked for is in use.
            TritonStartError: It runs already, or the process could not be made.
        """
        if self._process is not None:
            raise TritonStartError("This Triton has been started already; stop it first.")
        if not self._repository.is_dir():
            raise RepositoryMissingError(f"There is no model repository at {self._repository}.")
        try:
            self._ports = self._hold_ports()
            self._launch(self._ports)
        except (PortTakenError, TritonStartError):
            self.stop()
            raise

    def restart(self) -> None:
        """End what is left of the last process and start a new one on the same ports.

        Raises:
            TritonStartError: It was never started, or the process could not be made.
        """
        ports = self.ports
        self._end()
        self._launch(ports)

    def wait_ready(self, timeout_s: float = 180.0, *, every_model: bool = False) -> None:
        """Wait until it answers calls over gRPC, all models loaded as far as they can be.

        Where HTTP or metrics are asked for, Triton opens them a moment later.

        Args:
            timeout_s: Loading and compiling a large model takes tens of seconds.
            every_model: Whether a model that failed to load is an error; `failed_models` has them in any case.

        Raises:
            TritonStartError: It ended, or was not ready in time; with its last words.
            ModelLoadError: A model failed, and `every_model` was asked for.
        """
        process = self._running_process()
        news = self._news = threading.Event()
        if process.has_ended:
            news.set()
        probe = ReadinessProbe(self.grpc_address, timeout_s, news.set)
        try:
            news.wait(timeout_s + 1)
            if not probe.ready:
                problem = "ended before it was ready." if process.has_ended else f"was not ready in {timeout_s:g} s."
                raise TritonStartError(f"Triton {problem}", log_tail=process.output.tail)
        finally:
            probe.close()
        process.output.wait_loaded(_WORDS_PATIENCE_S)
        if every_model and process.output.failures:
            raise ModelLoadError(process.output.failures)

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, by itself or by somebody's hand; return whether it has."""
        return self._process is None or self._process.wait_ended(timeout_s)

    def kill(self) -> None:
        """Kill it, stubs and all, as if it had died."""
        if self.is_running:
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """End it: in order if it lets itself be, by force after `grace_s`. Returns when nothing of it is left."""
        self._end()
        for held in self._held:
            held.close()
        self._held, self._ports = [], None

    @property
    def is_running(self) -> bool:
        return self._process is not None and not self._process.has_ended

    @property
    def pid(self) -> int:
        """Process id of tritonserver itself."""
        return self._running_process().pid

    @property
    def ports(self) -> Ports:
        if self._ports is None:
            raise TritonStartError("This Triton has not been started.")
        return self._ports

    @property
    def grpc_address(self) -> str:
        return f"{LOOPBACK}:{self.ports.grpc}"

    @property
    def shm_prefix(self) -> str:
        """What the names of this Triton's segments in /dev/shm begin with."""
        return self._shm_prefix

    @property
    def failed_models(self) -> dict[str, str]:
        """Reason by name of the models that did not load since the start."""
        return {} if self._process is None else self._process.output.failures

    @property
    def last_words(self) -> str:
        """What it said last, redacted: once it is up, only how bad it was and where it came from."""
        return "" if self._process is None else self._process.output.last_words

    @property
    def log_tail(self) -> tuple[str, ...]:
        """The last lines it wrote, oldest first."""
        return () if self._process is None else self._process.output.tail

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.grpc_address if self._ports else "not started"
        return f"LocalTriton({self._repository.name!r}, {where}, running={self.is_running})"

    def _running_process(self) -> ShepherdedProcess:
        if self._process is None:
            raise TritonStartError("This Triton is not running.")
        return self._process

    def _hold_ports(self) -> Ports:
        numbers = [None if wanted is None else self._hold_port(wanted) for wanted in self._wanted]
        return Ports(numbers[0] or 0, numbers[1], numbers[2])

    def _hold_port(self, wanted: int) -> int:
        self._held.append(HeldPort(wanted))
        return self._held[-1].number

    def _launch(self, ports: Ports) -> None:
        # Triton binds the port of its metrics without SO_REUSEPORT: it cannot be held for it.
        for held in self._held:
            if held.number == ports.metrics:
                held.close()
        shepherd.remove_orphans(_SHM_PREFIX)
        self._shm_prefix = f"{_SHM_PREFIX}{os.getpid()}_{secrets.token_hex(4)}_"
        command = command_line(
            self._runtime,
            self._repository,
            ports,
            shm_prefix=self._shm_prefix,
            model_control=self._model_control,
            extra=self._extra_arguments,
        )
        self._process = ShepherdedProcess(
            command,
            environment=self._runtime.process_environment(self._environment),
            shm_prefix=self._shm_prefix,
            grace_s=self._grace_s,
            log=self._log,
            tell=self._tell,
            on_end=self._on_end,
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _on_end(self) -> None:
        self._news.set()
        if self._notify is not None:
            self._notify()
