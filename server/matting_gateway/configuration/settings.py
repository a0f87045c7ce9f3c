# SPDX-License-Identifier: Apache-2.0
"""All settings: each a flag, a variable `MATTING_*`, a key of the configuration file, and a field of its room."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from matting_gateway.admission.gate import GateSettings
from matting_gateway.admission.networks import Network, network_from
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.configuration.option_values import one_of, read_value, read_values
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.privacy.hardening import HardeningSettings
from matting_gateway.reloading.client_tls import ClientTlsSettings
from matting_gateway.rpc.boundary.promise import DoorSettings
from matting_gateway.rpc.serving.tls import TlsSettings
from matting_gateway.telemetry.log_lines import LogFormat
from matting_gateway.tracing.settings import TracingSettings
from matting_gateway.triton.settings import PoolSettings, SharedMemoryUse

ENVIRONMENT_PREFIX = "MATTING"
MIB = 1 << 20


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
    triton_tls: ClientTlsSettings | None = None
    tenants_file: Path | None = None
    trusted_proxies: tuple[Network, ...] = ()
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
    tracing: TracingSettings = field(default_factory=TracingSettings)
    otlp_tls: ClientTlsSettings | None = None
    hardening: HardeningSettings = field(default_factory=HardeningSettings)

    @property
    def certificate_files(self) -> tuple[Path, ...]:
        """The files that hold certificates, each once."""
        door, others = self.tls, (self.triton_tls, self.otlp_tls)
        listed = (
            *((door.certificate_file, door.client_ca_file) if door is not None else ()),
            *(path for tls in others if tls is not None for path in (tls.ca_file, tls.certificate_file)),
        )
        return tuple(dict.fromkeys(path for path in listed if path is not None))


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


def _networks(texts: Sequence[str]) -> tuple[Network, ...]:
    return tuple(network_from(text) for text in texts)


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
    Option(
        "--max-connection-age-s",
        "door.max_connection_age_s",
        float,
        "A caller's connection so old is sent elsewhere by GOAWAY, give or take a tenth; 0: never.",
    ),
    Option(
        "--max-connection-age-grace-s",
        "door.max_connection_age_grace_s",
        float,
        "How long calls of a connection too old may go on before it is cut; 0: as long as they take.",
    ),
    Option("--receive-timeout-s", "door.receive_timeout_s", float, "How long a request may take to arrive."),
    Option("--max-residency-s", "door.max_residency_s", float, "The longest that any image is held."),
    Option("--max-encoded-mib", "imaging.limits.max_encoded_bytes", int, "Largest photo file.", unit=MIB),
    Option("--max-pixels", "imaging.limits.max_pixels", int, "Most pixels of a photo."),
    Option("--max-side-px", "imaging.limits.max_side_px", int, "Longest side of a photo."),
    Option("--formats", "imaging.formats", str, "Formats taken, comma-separated.", convert=_formats),
    Option("--allow-animated", "imaging.allow_animated", bool, "Take the first frame of animations."),
    Option("--imaging-workers", "imaging.worker_count", int, "Processes that decode and encode; 0: one a core."),
    Option("--exact-resize", "imaging.exact", bool, "Resize as rembg does: slower, for comparisons."),
    Option(
        "--triton-shared-memory",
        "pool.shared_memory",
        str,
        "auto: batches go to a Triton on this host through shared memory; off.",
        convert=one_of(SharedMemoryUse),
    ),
    Option("--tensor-door", "tensor_door", bool, "Serve inference.GRPCInferenceService too."),
    Option(
        "--load-reports",
        "door.load_reports",
        bool,
        "Tell callers with each answer how loaded the gateway is (ORCA, for balancers).",
    ),
    Option("--reuse-port", "reuse_port", bool, "Share the ports of --listen with other gateways that do."),
    Option(
        "--log-format",
        "log_format",
        str,
        "json, text, or auto: text where standard output is a terminal, else JSON.",
        convert=one_of(LogFormat),
    ),
    Option("--log-health-checks", "log_health_checks", bool, "A log line for each call of the health service too."),
    Option("--otlp-endpoint", "tracing.endpoint", str, "Address of the OpenTelemetry collector that gets traces."),
    Option("--otlp-tls-ca", "otlp_tls.ca_file", Path, "Speak TLS to the collector, by this CA (PEM)."),
    Option("--otlp-tls-certificate", "otlp_tls.certificate_file", Path, "Client certificate for it (PEM)."),
    Option("--otlp-tls-key", "otlp_tls.key_file", Path, "Its private key (PEM)."),
    Option("--trace-sample-ratio", "tracing.sample_ratio", float, "Share of calls that are traced, 0 to 1."),
    Option(
        "--trace-asked-per-s",
        "tracing.asked_per_s",
        float,
        "Calls a second traced beyond that because their callers ask; 0: what callers say does not count.",
    ),
    Option("--client-shared-memory", "client_shared_memory", bool, "Let callers register shared memory."),
    Option("--tls-certificate", "tls.certificate_file", Path, "Certificate chain of the doors (PEM)."),
    Option("--tls-key", "tls.key_file", Path, "Its private key (PEM)."),
    Option("--tls-client-ca", "tls.client_ca_file", Path, "Ask callers for a certificate of this CA (PEM)."),
    Option("--triton-tls-ca", "triton_tls.ca_file", Path, "Speak TLS to the Tritons, by this CA (PEM)."),
    Option("--triton-tls-certificate", "triton_tls.certificate_file", Path, "Client certificate for them (PEM)."),
    Option("--triton-tls-key", "triton_tls.key_file", Path, "Its private key (PEM)."),
    Option("--allow-plaintext", "allow_plaintext", str, "An address to use without TLS all the same.", multiple=True),
    Option(
        "--trusted-proxy",
        "trusted_proxies",
        str,
        "A network whose peers stand for many callers (proxies, NAT, pods): no cap by network.",
        multiple=True,
        convert=_networks,
    ),
    Option("--tenants", "tenants_file", Path, "Who may call, and how much (TOML)."),
    Option("--close-metrics", "close_metrics", bool, "/metrics for operators' tokens only."),
    Option("--close-reflection", "close_reflection", bool, "No server reflection."),
    Option("--lock-memory", "hardening.lock_memory", bool, "Lock memory against swapping, where permitted."),
    Option("--scrub-memory", "hardening.scrub_memory", bool, "Overwrite freed memory."),
    Option("--confine-files", "hardening.confine_files", bool, "Give up the right to write files (Landlock)."),
)
