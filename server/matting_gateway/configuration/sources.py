# SPDX-License-Identifier: Apache-2.0
"""What the gateway was told, wherever that was: flags, then variables, then a file; and everything wrong with it."""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from matting_gateway.admission.tenant_file import tenants_from_file
from matting_gateway.clock import Clock
from matting_gateway.configuration.checked_settings import settings_and_problems
from matting_gateway.configuration.settings import OPTIONS, Settings
from matting_gateway.options import Option
from matting_gateway.reloading.certificate_dates import first_expiry_s
from matting_gateway.reloading.client_tls import client_tls
from matting_gateway.reloading.watched_files import WatchedFileError
from matting_gateway.rpc.serving.tls import server_tls
from matting_gateway.tracing.settings import missing_packages

_KEY = re.compile(r"""\s*["']?([A-Za-z0-9_-]+)["']?\s*=""")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and what is wrong: settings are good for use only where there is no problem."""

    settings: Settings
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Gathered:
    """What was given of each option, and where."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add(self, option: Option, value: Any, origin: str) -> None:
        self.values[option.name] = value
        self.origins[option.name] = origin


def configuration(
    flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None, *, clock: Clock
) -> Configuration:
    """Return what is configured, with the problem of every value and every file, each with where it was given.

    Args:
        flags: Values of flags by option name, None or () where one was not given.
        environ: The environment, of which the options' variables count.
        file: A configuration file, TOML: one key for each option, called as its flag without the dashes.
        clock: For files that are watched.
    """
    gathered = _Gathered()
    if file is not None:
        _read_file(file, gathered)
    for option in OPTIONS:
        flag, variable = flags.get(option.name), environ.get(option.variable)
        if flag is not None and flag != ():
            gathered.add(option, flag, option.flag)
        elif variable:
            gathered.add(option, variable.split() if option.multiple else variable, option.variable)
    settings, problems = settings_and_problems(gathered.values, gathered.origins)
    problems = [*gathered.problems, *problems]
    problems += _file_problems(settings, gathered.origins, clock)
    if settings.tracing.endpoint and missing_packages():
        needed = "traces need OpenTelemetry: pip install 'matting-gateway[otel]'"
        problems.append(f"{gathered.origins.get('otlp_endpoint', '--otlp-endpoint')}: {needed}")
    return Configuration(settings, tuple(problems))


def deeper_problems(settings: Settings, *, clock: Clock) -> tuple[str, ...]:
    """Return what is wrong with what may still change before or while the gateway runs, so that it is no reason not to.

    Certificates that have expired, tenants that are left out, and a default model that is not in the repository.
    """
    problems: list[str] = []
    for path in settings.certificate_files:
        try:
            expired = first_expiry_s(path.read_text("ascii")) <= clock.wall()
        except (OSError, ValueError):
            continue  # told of as a file that cannot be used
        if expired:
            problems.append(f"{path}: a certificate in it has expired")
    if settings.tenants_file is not None:
        with suppress(WatchedFileError):  # told of as a file that cannot be used
            tenants_from_file(settings.tenants_file, clock=clock, on_problem=problems.append).value()
    entry = settings.repository / settings.default_model
    if not settings.triton and settings.repository.is_dir() and not (entry / "config.pbtxt").is_file():
        there = sorted(path.parent.name for path in settings.repository.glob("*/config.pbtxt"))
        named = f"--default-model {settings.default_model}"
        problems.append(f"{named}: {settings.repository} has no such model; there: {', '.join(there) or 'none'}")
    return tuple(problems)


def _read_file(path: Path, gathered: _Gathered) -> None:
    try:
        text = path.read_text("utf-8")
        table = tomllib.loads(text)
    except OSError as exc:
        gathered.problems.append(f"--config {path}: cannot be read: {exc.strerror}")
        return
    except ValueError as exc:  # not UTF-8, or no TOML, which says in which line
        gathered.problems.append(f"--config {path}: {exc}")
        return
    options = {option.key: option for option in OPTIONS}
    lines = _lines_of(text)
    for key, value in table.items():
        where = f"{path}:{lines.get(key, 1)}: {key}"
        option = options.get(key)
        if option is not None and not isinstance(value, dict):
            gathered.add(option, value, where)
            continue
        close = difflib.get_close_matches(key, options, n=1)
        advice = f"; did you mean {close[0]}?" if close and option is None else ""
        gathered.problems.append(f"{where}: {'is a table' if option else 'there is no such option'}{advice}")


def _lines_of(text: str) -> dict[str, int]:
    """Return the line of each key. TOML's own reader tells none."""
    found: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        key = _KEY.match(line) or re.match(r"\s*\[\s*([A-Za-z0-9_-]+)", line)
        if key is not None:
            found.setdefault(key[1], number)
    return found


def _file_problems(settings: Settings, origins: Mapping[str, str], clock: Clock) -> Iterable[str]:
    """Return what is wrong with certificates, keys and tenants, by reading them as the gateway does."""

    def where(*names: str) -> str:
        return ", ".join(origins[name] for name in names if name in origins)

    door, tenants = settings.tls, settings.tenants_file
    reads: list[tuple[str, Callable[[], object]]] = []
    if door is not None:
        names = ("tls_certificate", "tls_key", "tls_client_ca")
        reads.append((where(*names), server_tls(door, clock=clock).value))
    for group, tls in (("triton_tls", settings.triton_tls), ("otlp_tls", settings.otlp_tls)):
        if tls is not None:
            names = (f"{group}_ca", f"{group}_certificate", f"{group}_key")
            reads.append((where(*names), client_tls(tls, clock=clock).value))
    if tenants is not None:
        reads.append((where("tenants"), tenants_from_file(tenants, clock=clock).value))
    for origin, read in reads:
        try:
            read()
        except WatchedFileError as exc:
            yield f"{origin}: {exc}"
