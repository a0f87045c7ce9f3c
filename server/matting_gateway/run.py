# SPDX-License-Identifier: Apache-2.0
"""One run of the service: process, loop, signals, and a Triton of our own where none is named."""

import asyncio
import errno
import os
import platform
import signal
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack

import uvloop
from matting_triton.errors import LocalTritonError
from matting_triton.install import ensure_runtime
from matting_triton.logs import LogLine
from matting_triton.supervisor import EventKind, SupervisorEvent, TritonSupervisor

from matting_gateway.app import Gateway
from matting_gateway.clock import Clock, SystemClock
from matting_gateway.configuration.settings import Settings
from matting_gateway.privacy.hardening import apply, scrub_environment
from matting_gateway.reloading.watched_files import WatchedFileError
from matting_gateway.telemetry.log_lines import LogFormat
from matting_gateway.telemetry.logs import Event, Logs
from matting_gateway.telemetry.metrics import Metrics, process_registry
from matting_gateway.version import own_version

_EVENTS = {EventKind.STARTED: Event.TRITON_STARTED, EventKind.DIED: Event.TRITON_DIED}


def run(settings: Settings, environ: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT, and return the exit code. The process is hardened from here on."""
    clock = SystemClock()
    text = {LogFormat.TEXT: True, LogFormat.JSON: False}.get(settings.log_format, sys.stdout.isatty())
    logs = Logs(sys.stdout, clock=clock, as_text=text)
    logs.start()
    try:
        with logs.capture_libraries(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            logs.event(Event.STARTED, detail=f"matting-gateway {own_version()}")
            return runner.run(_serve(settings, clock, logs, environ))
    finally:
        logs.close()


async def _serve(settings: Settings, clock: Clock, logs: Logs, environ: Mapping[str, str]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # nothing has been read yet that could be read again
    metrics = Metrics(process_registry())
    metrics.build_info.labels(own_version(), platform.python_version()).set(1)
    hardening = apply(settings.hardening)
    for problem in hardening.problems:
        logs.event(Event.HARDENING, detail=problem)
    try:
        async with AsyncExitStack() as closing:
            own_backend, own_backend_starting = None, None
            if not settings.triton:
                triton = await _local_triton(settings, logs, environ)
                closing.push_async_callback(triton.stop)
                await triton.start()
                own_backend, own_backend_starting = triton.grpc_address, lambda: not triton.statistics().ready
            gateway = Gateway(
                settings,
                clock=clock,
                metrics=metrics,
                logs=logs,
                hardening=hardening,
                own_backend=own_backend,
                own_backend_starting=own_backend_starting,
            )
            closing.push_async_callback(gateway.stop)
            await gateway.start()
            loop.add_signal_handler(signal.SIGHUP, _on_hangup, gateway, stop)
            await stop.wait()
            await gateway.drain()
    except (OSError, WatchedFileError, LocalTritonError) as exc:
        for line in str(exc).splitlines():
            sys.stderr.write(f"matting-gateway: {line}\n")
        return 1
    return 0


def _on_hangup(gateway: Gateway, stop: asyncio.Event) -> None:
    """Read files again, as services do; of a terminal that was closed it is the end."""
    try:
        os.tcgetpgrp(sys.stdout.fileno())
    except OSError as exc:
        if exc.errno == errno.EIO:
            stop.set()
            return
    gateway.reload()


async def _local_triton(settings: Settings, logs: Logs, environ: Mapping[str, str]) -> TritonSupervisor:
    """Return a Triton on the model repository, not started yet. Its runtime is installed if it is not there."""
    runtime = await asyncio.to_thread(ensure_runtime, settings.cache)
    scrub = scrub_environment(environ) if settings.hardening.scrub_memory else {"MATTING_SCRUB": "0"}

    def on_event(event: SupervisorEvent) -> None:
        logs.event(_EVENTS.get(event.kind, Event.TRITON_STATE), state=event.kind.value, cause=event.detail)

    def tell(line: LogLine) -> None:
        logs.event(Event.TRITON_SAYS, level=line.severity.value, where=line.place, cause=line.words)

    return TritonSupervisor(runtime, settings.repository, environment=scrub, on_event=on_event, tell=tell)
