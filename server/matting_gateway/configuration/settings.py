# SPDX-License-Identifier: Apache-2.0
"""All settings: each a flag, a variable `MATTING_*`, a key of the configuration file, and a field of its room."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from enum import Enum
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, get_args, get_origin

from matting_gateway.admission.networks import Network, network_from
from matting_gateway.admission.settings import GateSettings
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.configuration.option_values import KINDS, one_of
from matting_gateway.imaging.settings import ImagingSettings
from matting_gateway.options import OPTION, Option, above_zero, option, options_within
from matting_gateway.privacy.settings import HardeningSettings
from matting_gateway.reloading.client_tls import ClientTlsSettings
from matting_gateway.rpc.settings import DoorSettings, TlsSettings
from matting_gateway.telemetry.log_lines import LogFormat
from matting_gateway.tracing.settings import TracingSettings
from matting_gateway.triton.settings import PoolSettings

_KEY = "Its private key (PEM)."


def _networks(texts: Sequence[str]) -> tuple[Network, ...]:
    return tuple(network_from(text) for text in texts)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything the gateway is told. Without `triton` addresses it runs a local Triton of its own."""

    listen: tuple[str, ...] = option(
        ("127.0.0.1:50051",), "--listen", "Address of the gRPC doors: HOST:PORT or unix:PATH."
    )
    metrics_listen: str = option(
        "127.0.0.1:9464", "--metrics-listen", "Address of /metrics: HOST:PORT; empty for none."
    )
    triton: tuple[str, ...] = option((), "--triton", "A Triton's gRPC address; none: run one here.")
    repository: Path = option(Path("model_repository"), "--repository", "Model repository of the Triton run here.")
    cache: Path = option(Path(".cache"), "--cache", "Where `make setup` put the Triton runtime.")
    default_model: str = option("u2net", "--default-model", "Model of calls that name none.")
    drain_timeout_s: float = option(
        30.0, "--drain-timeout-s", "How long a stop waits for calls in progress.", check=above_zero
    )
    allow_plaintext: tuple[str, ...] = option((), "--allow-plaintext", "An address to use without TLS all the same.")
    tls: TlsSettings | None = options_within(
        None,
        certificate_file=Option("--tls-certificate", "Certificate chain of the doors (PEM)."),
        key_file=Option("--tls-key", _KEY),
        client_ca_file=Option("--tls-client-ca", "Ask callers for a certificate of this CA (PEM)."),
    )
    triton_tls: ClientTlsSettings | None = options_within(
        None,
        ca_file=Option("--triton-tls-ca", "Speak TLS to the Tritons, by this CA (PEM)."),
        certificate_file=Option("--triton-tls-certificate", "Client certificate for them (PEM)."),
        key_file=Option("--triton-tls-key", _KEY),
    )
    tenants_file: Path | None = option(None, "--tenants", "Who may call, and how much (TOML).")
    trusted_proxies: tuple[Network, ...] = option(
        (),
        "--trusted-proxy",
        "A network whose peers stand for many callers (proxies, NAT, pods): no cap by network.",
        convert=_networks,
    )
    close_metrics: bool = option(False, "--close-metrics", "/metrics for operators' tokens only.")
    close_reflection: bool = option(False, "--close-reflection", "No server reflection.")
    tensor_door: bool = option(True, "--tensor-door", "Serve inference.GRPCInferenceService too.")
    client_shared_memory: bool = option(False, "--client-shared-memory", "Let callers register shared memory.")
    reuse_port: bool = option(False, "--reuse-port", "Share the ports of --listen with other gateways that do.")
    log_format: LogFormat = option(
        LogFormat.AUTO, "--log-format", "json, text, or auto: text where standard output is a terminal, else JSON."
    )
    log_health_checks: bool = option(
        False, "--log-health-checks", "A log line for each call of the health service too."
    )
    gate: GateSettings = field(default_factory=GateSettings)
    door: DoorSettings = field(default_factory=DoorSettings)
    imaging: ImagingSettings = field(default_factory=ImagingSettings)
    batching: BatchingSettings = field(default_factory=BatchingSettings)
    pool: PoolSettings = field(default_factory=PoolSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
    otlp_tls: ClientTlsSettings | None = options_within(
        None,
        ca_file=Option("--otlp-tls-ca", "Speak TLS to the collector, by this CA (PEM)."),
        certificate_file=Option("--otlp-tls-certificate", "Client certificate for it (PEM)."),
        key_file=Option("--otlp-tls-key", _KEY),
    )
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


# The order in which they are listed; those that are not here come last.
_LISTED = """
    listen metrics-listen triton repository cache default-model default-deadline-s drain-timeout-s
    max-message-mib max-message-fields max-list-entries memory-budget-mib max-calls max-streams max-stream-items
    stream-idle-timeout-s max-connection-age-s max-connection-age-grace-s receive-timeout-s max-residency-s
    max-encoded-mib max-pixels max-side-px formats allow-animated imaging-workers exact-resize
    triton-shared-memory tensor-door load-reports reuse-port log-format log-health-checks
    otlp-endpoint otlp-tls-ca otlp-tls-certificate otlp-tls-key trace-sample-ratio trace-asked-per-s
    client-shared-memory tls-certificate tls-key tls-client-ca triton-tls-ca triton-tls-certificate triton-tls-key
    allow-plaintext trusted-proxy tenants close-metrics close-reflection lock-memory scrub-memory confine-files
""".split()  # noqa: SIM905 - or else it is a page long


def _options(settings: Any, path: str = "", given: Mapping[str, Option] = MappingProxyType({})) -> Iterator[Option]:
    """Yield the options of a class of settings; `given` has those of its fields that name none themselves."""
    for one in fields(settings):
        kind = get_args(one.type)[0] if isinstance(one.type, UnionType) else one.type
        found: Option | None = one.metadata.get(OPTION) or given.get(one.name)
        if found is not None:
            yield replace(
                found,
                convert=one_of(type(one.default)) if isinstance(one.default, Enum) else found.convert,
                path=f"{path}{one.name}",
                type=kind if kind in KINDS else str,
                multiple=get_origin(kind) is tuple,
                field_default=None if one.default is MISSING else one.default,
            )
        elif is_dataclass(kind):
            yield from _options(kind, f"{path}{one.name}.", one.metadata)


def _place(option: Option) -> int:
    return _LISTED.index(option.key) if option.key in _LISTED else len(_LISTED)


OPTIONS = tuple(sorted(_options(Settings), key=_place))
