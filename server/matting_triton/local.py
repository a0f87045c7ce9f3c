# SPDX-License-Identifier: Apache-2.0
"""One Triton on this machine, from start to clean end."""

import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from matting_triton import shepherd
from matting_triton.command import ModelControl, Ports, command_line
from matting_triton.errors import ModelLoadError, PortTakenError, RepositoryMissingError, TritonStartError
from matting_triton.logs import LogCallable, LogFollower
from matting_triton.ports import LOOPBACK, HeldPort
from matting_triton.readiness import ReadinessProbe
from matting_triton.runtime import Runtime

# How much longer than Triton's own grace the shepherd may take.
_SHEPHERD_GRACE_S = 5.0


class LocalTriton:
    """Runs a Triton on the loopback interface, behind a shepherd that outlives nobody.

    Owns the processes (shepherd, tritonserver, one stub for each Python model instance), their shared-memory segments
    and the held ports. Invariants: after `stop` none of them is left; they are gone as well soon after this process
    dies, in whatever way. One thread starts and stops it; `is_running`, `pid` and `failed_models` may be read from any.
    Used as a context manager, it is started and ready inside.

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
        grace_s: Seconds between SIGTERM and SIGKILL.
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
        grace_s: float = 8.0,
        extra_arguments: tuple[str, ...] = (),
    ) -> None:
        self._runtime = runtime
        self._repository = repository.absolute()
        self._wanted = (grpc_port, http_port, metrics_port)
        self._model_control = model_control
        self._environment = dict(environment or {})
        self._log = log
        self._grace_s = grace_s
        self._extra_arguments = extra_arguments
        self._held: list[HeldPort] = []
        self._ports: Ports | None = None
        self._process: subprocess.Popen[str] | None = None
        self._control: socket.socket | None = None
        self._pid: int | None = None
        self._shm_prefix = ""
        self._follower: LogFollower | None = None
        self._ended = threading.Event()
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
        ports = self._hold_ports()
        self._shm_prefix = f"matting_triton_{os.getpid()}_{secrets.token_hex(4)}_"
        self._ended = threading.Event()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                self._shepherd_command(theirs.fileno(), ports),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=[theirs.fileno()],
                env=self._runtime.process_environment(self._environment),
                start_new_session=True,  # Ctrl-C in a terminal is for the program, which then stops Triton in order
            )
        self._control = ours
        self._follower = LogFollower(self._process.stdout or (), self._log, self._on_end)
        self._follower.start()
        with ours.makefile("r") as reader:
            first = reader.readline()
        if not first:
            self.stop()
            raise TritonStartError("Triton's process could not be started.", log_tail=self._follower.tail)
        self._pid = int(first)

    def wait_ready(self, timeout_s: float = 180.0, *, every_model: bool = False) -> None:
        """Wait until it answers calls over gRPC, all models loaded as far as they can be.

        Args:
            timeout_s: Loading and compiling a large model takes tens of seconds.
            every_model: Whether a model that failed to load is an error; `failed_models` has them in any case.

        Raises:
            TritonStartError: It ended, or was not ready in time; with its last words.
            ModelLoadError: A model failed, and `every_model` was asked for.
        """
        follower = self._follower
        if follower is None:
            raise TritonStartError("This Triton has not been started.")
        news = self._news = threading.Event()
        if self._ended.is_set():
            news.set()
        probe = ReadinessProbe(self.grpc_address, timeout_s, news.set)
        try:
            news.wait(timeout_s + 1)
            if not probe.ready:
                problem = "ended before it was ready." if self._ended.is_set() else f"was not ready in {timeout_s:g} s."
                raise TritonStartError(f"Triton {problem}", log_tail=follower.tail)
        finally:
            probe.close()
        if every_model and follower.failures:
            raise ModelLoadError(follower.failures)

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Wait until it has ended, by itself or by somebody's hand; return whether it has."""
        return self._ended.wait(timeout_s)

    def stop(self) -> None:
        """End it: in order if it lets itself be, by force after `grace_s`. Returns when nothing of it is left."""
        process, self._process = self._process, None
        if process is not None:
            self._end(process)
        for held in self._held:
            held.close()
        self._held, self._ports, self._pid = [], None, None

    def _end(self, process: "subprocess.Popen[str]") -> None:
        if self._control is not None:
            self._control.close()
        try:
            process.wait(self._grace_s + _SHEPHERD_GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode < 0:
            # Somebody killed the shepherd: do the last of its work.
            if self._pid is not None:
                shepherd.kill_group(self._pid)
            shepherd.remove_segments(self._shm_prefix)
        if self._follower is not None:
            self._follower.join(_SHEPHERD_GRACE_S)
        if process.stdout is not None:
            process.stdout.close()

    @property
    def is_running(self) -> bool:
        return self._process is not None and not self._ended.is_set()

    @property
    def pid(self) -> int:
        """Process id of tritonserver itself."""
        if self._pid is None:
            raise TritonStartError("This Triton is not running.")
        return self._pid

    @property
    def ports(self) -> Ports:
        if self._ports is None:
            raise TritonStartError("This Triton is not running.")
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
        return {} if self._follower is None else self._follower.failures

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        where = self.grpc_address if self._ports else "not started"
        return f"LocalTriton({self._repository.name!r}, {where}, pid={self._pid}, running={self.is_running})"

    def _hold_ports(self) -> Ports:
        numbers: list[int | None] = []
        try:
            for wanted in self._wanted:
                if wanted is None:
                    numbers.append(None)
                    continue
                self._held.append(HeldPort(wanted))
                numbers.append(self._held[-1].number)
        except PortTakenError:
            self.stop()
            raise
        grpc_port, http_port, metrics_port = numbers
        self._ports = Ports(grpc_port or 0, http_port, metrics_port)
        return self._ports

    def _on_end(self) -> None:
        self._ended.set()
        self._news.set()

    def _shepherd_command(self, control_fd: int, ports: Ports) -> list[str]:
        triton = command_line(
            self._runtime,
            self._repository,
            ports,
            shm_prefix=self._shm_prefix,
            model_control=self._model_control,
            extra=self._extra_arguments,
        )
        script = [sys.executable, "-I", "-S", str(Path(shepherd.__file__))]
        return [*script, str(control_fd), str(os.getpid()), f"{self._grace_s:g}", self._shm_prefix, *triton]
