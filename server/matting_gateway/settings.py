# SPDX-License-Identifier: Apache-2.0
"""All settings: each a flag, a variable `MATTING_*`, a key of the configuration file, and a field of its room."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from pathlib import Path
from typing import Any

from matting_gateway.admission.gate import GateSettings
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.option_values import address_problem, one_of, read_value, read_values
from matting_gateway.privacy.hardening import HardeningSettings
from matting_gateway.privacy.transport import PlaintextRefusedError, check_backend, check_listen
from matting_gateway.rpc.promise import DoorSettings
from matting_gateway.rpc.tls import TlsSettings
from matting_gateway.telemetry.log_lines import LogFormat
from matting_gateway.triton.credentials import TritonTlsSettings
from matting_gateway.triton.settings import PoolSettings, SharedMemoryUse

ENVIRONMENT_PREFIX = "MATTING"
MIB = 1 << 20


class SettingsError(ValueError):
    """Settings that cannot be started with; `problems` lists every one of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the gateway is told. Without `triton` addresses it runs a local Triton of its own."""

    listen: tuple[str, ...] = ("127.0.0.1:50051",)
    metrics_listen: str = "127.0.0.1:9464"
    triton: tuple[str, ...] = ()
    repository: Path = Path("model_repository")
    cache: Path = Path(".cache")
    default_model: str = "u2net"
    drain_timeout_s: float = 30.0
    allow_plaintext: tuple[str, ...] = ()
    tls: TlsSettings | None = None
    triton_tls: TritonTlsSettings | None = None
    tenants_file: Path | None = None
    close_metrics: bool = False
    close_reflection: bool = False
    tensor_door: bool = True
    client_shared_memory: bool = False
    reuse_port: bool = False
    log_format: LogFormat = LogFormat.AUTO
    log_health_checks: bool = False
    gate: GateSettings = field(default_factory=GateSettings)
    door: DoorSettings = field(default_factory=DoorSettings)
    imaging: ImagingSettings = field(default_factory=ImagingSettings)
    batching: BatchingSettings = field(default_factory=BatchingSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    hardening: HardeningSettings = field(default_factory=HardeningSettings)


@dataclass(frozen=True, slots=True)
class Option:
    """One setting as a user gives it.

    `path` names the field of Settings that it fills, `convert` turns the given value into the
    field's, `unit` multiplies numbers given in larger units than the field's.
    """

    flag: str
    path: str
    type: type
    help: str
    multiple: bool = False
    convert: Callable[[Any], Any] | None = None
    unit: int = 1

    @property
    def name(self) -> str:
        return self.flag.removeprefix("--").replace("-", "_")

    @property
    def key(self) -> str:
        """What it is called in a configuration file."""
        return self.flag.removeprefix("--")

    @property
    def variable(self) -> str:
        return f"{ENVIRONMENT_PREFIX}_{self.name.upper()}"

    def default(self) -> Any:
        value: Any = Settings()
        for part in self.path.split("."):
            value = getattr(value, part, None)
        if isinstance(value, frozenset):
            return ",".join(sorted(v.name.lower() for v in value))
        if isinstance(value, Enum):
            return value.value
        return value // self.unit if self.unit > 1 else value

    def read(self, given: Any) -> Any:
        """Return a given value, a text or what a configuration file has, in the user's own unit.

        Raises:
            ValueError: It is of another kind.
        """
        return read_values(given) if self.multiple else read_value(self.type, given)


def _formats(text: str) -> frozenset[ImageFormat]:
    names = {f.name.lower(): f for f in ImageFormat}
    wanted = [part.strip().lower() for part in text.split(",") if part.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        raise ValueError(f"unknown format {', '.join(unknown)}; known are {', '.join(sorted(names))}")
    return frozenset(names[name] for name in wanted)


OPTIONS = (
    Option("--listen", "listen", str, "Address of the gRPC doors: HOST:PORT or unix:PATH.", multiple=True),
    Option("--metrics-listen", "metrics_listen", str, "Address of /metrics: HOST:PORT; empty for none."),
    Option("--triton", "triton", str, "A Triton's gRPC address; none: run one here.", multiple=True),
    Option("--repository", "repository", Path, "Model repository of the Triton run here."),
    Option("--cache", "cache", Path, "Where `make setup` put the Triton runtime."),
    Option("--default-model", "default_model", str, "Model of calls that name none."),
    Option("--default-deadline-s", "door.default_deadline_s", float, "Deadline of calls that have none."),
    Option("--drain-timeout-s", "drain_timeout_s", float, "How long a stop waits for calls in progress."),
    Option("--max-message-mib", "door.max_message_bytes", int, "Largest gRPC message taken.", unit=MIB),
    Option("--max-message-fields", "door.message_limits.max_fields", int, "Most fields of a message, at all levels."),
    Option("--max-list-entries", "door.message_limits.max_entries", int, "Most entries of a list in a message."),
    Option("--memory-budget-mib", "gate.budget_bytes", int, "Memory for all calls together.", unit=MIB),
    Option("--max-calls", "gate.max_permit_count", int, "Calls admitted at once."),
    Option("--max-streams", "door.max_stream_count", int, "Streams open at once."),
    Option("--max-stream-items", "door.max_stream_item_count", int, "Items in work at once on a stream."),
    Option("--stream-idle-timeout-s", "door.stream_idle_timeout_s", float, "A stream idle for so long is closed."),
    Option("--receive-timeout-s", "door.receive_timeout_s", float, "How long a request may take to arrive."),
    Option("--max-residency-s", "door.max_residency_s", float, "The longest that any image is held."),
    Option("--max-encoded-mib", "imaging.limits.max_encoded_bytes", int, "Largest photo file.", unit=MIB),
    Option("--max-pixels", "imaging.limits.max_pixels", int, "Most pixels of a photo."),
    Option("--max-side-px", "imaging.limits.max_side_px", int, "Longest side of a photo."),
    Option("--formats", "imaging.formats", str, "Formats taken, comma-separated.", convert=_formats),
    Option("--allow-animated", "imaging.allow_animated", bool, "Take the first frame of animations."),
    Option("--imaging-workers", "imaging.worker_count", int, "Photos decoded or encoded at once; 0: one a core."),
    Option("--exact-resize", "imaging.exact", bool, "Resize as rembg does: slower, for comparisons."),
    Option("--isolate-decoders", "imaging.isolate_decoders", bool, "Decode in processes that can be killed."),
    Option(
        "--triton-shared-memory",
        "pool.shared_memory",
        str,
        "auto: batches go to a Triton on this host through shared memory; off.",
        convert=one_of(SharedMemoryUse),
    ),
    Option("--tensor-door", "tensor_door", bool, "Serve inference.GRPCInferenceService too."),
    Option("--reuse-port", "reuse_port", bool, "Share the ports of --listen with other gateways that do."),
    Option(
        "--log-format",
        "log_format",
        str,
        "json, text, or auto: text where standard output is a terminal, else JSON.",
        convert=one_of(LogFormat),
    ),
    Option("--log-health-checks", "log_health_checks", bool, "A log line for each call of the health service too."),
    Option("--client-shared-memory", "client_shared_memory", bool, "Let callers register shared memory."),
    Option("--tls-certificate", "tls.certificate_file", Path, "Certificate chain of the doors (PEM)."),
    Option("--tls-key", "tls.key_file", Path, "Its private key (PEM)."),
    Option("--tls-client-ca", "tls.client_ca_file", Path, "Ask callers for a certificate of this CA (PEM)."),
    Option("--triton-tls-ca", "triton_tls.ca_file", Path, "Speak TLS to the Tritons, by this CA (PEM)."),
    Option("--triton-tls-certificate", "triton_tls.certificate_file", Path, "Client certificate for them (PEM)."),
    Option("--triton-tls-key", "triton_tls.key_file", Path, "Its private key (PEM)."),
    Option("--allow-plaintext", "allow_plaintext", str, "An address to use without TLS all the same.", multiple=True),
    Option("--tenants", "tenants_file", Path, "Who may call, and how much (TOML)."),
    Option("--close-metrics", "close_metrics", bool, "/metrics for operators' tokens only."),
    Option("--close-reflection", "close_reflection", bool, "No server reflection."),
    Option("--lock-memory", "hardening.lock_memory", bool, "Lock memory against swapping, where permitted."),
    Option("--scrub-memory", "hardening.scrub_memory", bool, "Overwrite freed memory."),
    Option("--confine-files", "hardening.confine_files", bool, "Give up the right to write files (Landlock)."),
)

# Options that mean nothing at 0 or below.
_ABOVE_ZERO = frozenset(
    {"default_deadline_s", "drain_timeout_s", "receive_timeout_s", "max_residency_s", "stream_idle_timeout_s"}
    | {"memory_budget_mib", "max_message_mib", "max_calls", "max_streams", "max_stream_items"}
    | {"max_message_fields", "max_list_entries"}
)
_GRPC_LIMIT_MIB = 2048

# Groups that are there only if one of their fields is given: (class, fields that must be given then).
_OPTIONAL_GROUPS = {
    "tls": (TlsSettings, ("certificate_file", "key_file")),
    "triton_tls": (TritonTlsSettings, ("ca_file",)),
}


def build_settings(values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Settings:
    """Return the settings that the given values make.

    Args:
        values: By option name, as text or of the option's own type; None or () for not given.
        origins: Where each was given, by option name, to be named with what is wrong with it.

    Raises:
        SettingsError: With every problem found, not only the first.
    """
    settings, problems = settings_and_problems(values, origins)
    if problems:
        raise SettingsError(problems)
    return settings


def settings_and_problems(
    values: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> tuple[Settings, list[str]]:
    """Return the settings that those of the given values make that can be used, and what is wrong with the others."""
    origins = origins or {}
    given: dict[str, _Given] = {}
    problems: list[str] = []
    for option in OPTIONS:
        value = values.get(option.name)
        if value is None or value == ():
            continue
        where = origins.get(option.name) or f"{option.flag} ({option.variable})"
        try:
            value = _checked(option, option.read(value))
        except ValueError as exc:
            problems.append(f"{where}: {exc}")
            continue
        given[option.path] = _Given(where, value)
    groups: dict[str, dict[str, _Given]] = {}
    for path, one in given.items():
        group, _, name = path.rpartition(".")
        groups.setdefault(group, {})[name] = one
    settings = Settings()
    # Innermost groups first, so that `imaging.limits` is in place before `imaging` is rebuilt.
    for group in sorted(groups, key=lambda g: -g.count(".") if g else 1):
        settings, found = _with_group(settings, group, groups[group])
        problems += found
    problems += _problems_of(settings, lambda path, flag: given[path].where if path in given else flag)
    door = replace(settings.door, max_pixels=settings.imaging.limits.max_pixels)
    return replace(settings, door=door), problems


@dataclass(frozen=True, slots=True)
class _Given:
    """A value, in the unit of its field, and where it was given."""

    where: str
    value: Any


def _checked(option: Option, value: Any) -> Any:
    """Return a value in the unit of its field.

    Raises:
        ValueError: It is out of range.
    """
    if option.name in _ABOVE_ZERO and not value > 0:
        raise ValueError(f"must be above 0, not {value}")
    if option.name == "max_message_mib" and value >= _GRPC_LIMIT_MIB:
        raise ValueError(f"must be below {_GRPC_LIMIT_MIB}, gRPC's own limit, not {value}")
    if option.convert is not None:
        return option.convert(value)
    return value * option.unit if option.unit > 1 else value


def _with_group(settings: Settings, group: str, given: Mapping[str, _Given]) -> tuple[Settings, list[str]]:
    """Return the settings with a group's values, and what is wrong with each, or with them together."""
    problems: list[str] = []
    good = dict(given)
    if group and group not in _OPTIONAL_GROUPS:
        for name, one in given.items():
            try:
                _with(settings, group, {name: one.value})
            except ValueError as exc:
                problems.append(f"{one.where}: {exc}")
                del good[name]
    try:
        settings = _with(settings, group, {name: one.value for name, one in good.items()}) if good else settings
    except ValueError as exc:
        problems.append(f"{', '.join(one.where for one in good.values())}: {exc}")
    return settings, problems


def _with(settings: Settings, group: str, fields: Mapping[str, Any]) -> Settings:
    if not group:
        return replace(settings, **fields)
    if group in _OPTIONAL_GROUPS:
        cls, needed = _OPTIONAL_GROUPS[group]
        missing = [name for name in needed if name not in fields]
        if missing:
            flags = [o.flag for o in OPTIONS if o.path in {f"{group}.{name}" for name in missing}]
            raise ValueError(f"{' and '.join(flags)} must be given too")
        made: Any = cls(**fields)
        return replace(settings, **{group: made})
    outer, _, inner = group.partition(".")
    part = getattr(settings, outer)
    part = replace(part, **{inner: replace(getattr(part, inner), **fields)}) if inner else replace(part, **fields)
    return replace(settings, **{outer: part})


def _problems_of(settings: Settings, where: Callable[[str, str], str]) -> list[str]:
    """Return what is wrong with values that are good by themselves; `where(path, flag)` says where one was given."""
    problems = []
    listen = where("listen", "--listen")
    for address in settings.listen:
        problems += _refusal(
            check_listen, address, listen, least_port=0, tls=settings.tls is not None, allowed=settings.allow_plaintext
        )
    for address in settings.triton:
        problems += _refusal(
            check_backend,
            address,
            where("triton", "--triton"),
            least_port=1,
            tls=settings.triton_tls is not None,
            allowed=settings.allow_plaintext,
        )
    metrics = settings.metrics_listen
    if metrics and (problem := address_problem(metrics, least_port=0, unix=False)):
        problems.append(f"{where('metrics_listen', '--metrics-listen')}: {problem}")
    for address in sorted({*settings.listen, metrics}):
        if not address.endswith(":0") and [*settings.listen, metrics].count(address) > 1:
            problems.append(f"{listen}: {address} is listened on twice")
    if not settings.listen:
        problems.append(f"{listen}: there is no address to listen on")
    if not settings.triton and not settings.repository.is_dir():
        repository = where("repository", "--repository")
        problems.append(f"{repository}: {settings.repository} is no folder; run `make setup`, or name a --triton")
    return problems


def _refusal(
    check: Callable[..., object], address: str, where: str, *, least_port: int, tls: bool, allowed: Sequence[str]
) -> list[str]:
    problem = address_problem(address, least_port=least_port)
    if problem:
        return [f"{where}: {problem}"]
    try:
        check(address, tls=tls, plaintext_allowed=allowed)
    except PlaintextRefusedError as exc:
        return [f"{where}: {exc}"]
    return []
