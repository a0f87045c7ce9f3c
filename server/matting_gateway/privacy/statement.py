# SPDX-License-Identifier: Apache-2.0
"""What the running service does with data, said from the facts in force and nothing else.

A promise that the settings or the machine do not let it keep is stated as not kept.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass

from matting_gateway.privacy.hardening import Hardening
from matting_gateway.privacy.transport import Hop, HopKind
from matting_gateway.telemetry.logs import CALL_FIELDS

# Goes up when a topic is added, removed or comes to mean something else.
STATEMENT_VERSION = "2"


@dataclass(frozen=True, slots=True)
class BackendFact:
    """One Triton. `ours`: started and stopped by us. Settings read back from it; None: it does not tell."""

    name: str
    hop: Hop
    ours: bool
    trace_off: bool | None
    response_cache_off: bool | None
    tensor_logging_off: bool | None

    @property
    def keeps_nothing(self) -> bool:
        """Whether it is known not to keep or log tensors."""
        return bool(self.trace_off and self.response_cache_off and self.tensor_logging_off)


@dataclass(frozen=True, slots=True)
class CollectorFact:
    """Who gets traces of calls."""

    name: str
    hop: Hop


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """Everything that the statement rests on."""

    retention_ceiling_s: float
    listeners: tuple[Hop, ...]
    backends: tuple[BackendFact, ...]
    hardening: Hardening
    tenants_required: bool
    metrics_closed: bool
    reflection_closed: bool
    client_shared_memory: bool
    proxies: tuple[str, ...] = ()
    collector: CollectorFact | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """One promise: whether it is kept in full, and the values that says so by."""

    topic: str
    statement: str
    kept: bool
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DataPolicy:
    """The statement in force. `revision` differs exactly if anything else does."""

    version: str
    revision: str
    retention_ceiling_s: float
    statements: tuple[Statement, ...]


def data_policy(facts: PolicyFacts) -> DataPolicy:
    """Return the statement that the facts make."""
    statements = (*_transport(facts), *_storage(facts), *_memory(facts), *_use(facts), *_access(facts))
    content = [STATEMENT_VERSION, facts.retention_ceiling_s, [asdict(statement) for statement in statements]]
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return DataPolicy(STATEMENT_VERSION, digest[:16], facts.retention_ceiling_s, statements)


def _transport(facts: PolicyFacts) -> Iterator[Statement]:
    protected = all(hop.protected for hop in facts.listeners)
    before = " What comes by a proxy named here came to that as its own operator has it." if facts.proxies else ""
    yield Statement(
        "transport.callers",
        "Photos reach the service over TLS 1.3, or without leaving the machine." + before
        if protected
        else "Photos reach the service over a network in the clear, because its operator allowed it by name." + before,
        protected,
        {f"listener_{i}": _hop_text(hop) for i, hop in enumerate(facts.listeners)}
        | {f"proxy_{i}": network for i, network in enumerate(facts.proxies)}
        | _words(client_shared_memory=facts.client_shared_memory),
    )
    protected = all(backend.hop.protected for backend in facts.backends)
    yield Statement(
        "transport.backends",
        "Photos reach the inference servers over TLS, or without leaving the machine."
        if protected
        else "Photos reach an inference server over a network in the clear, because the operator allowed it by name.",
        protected,
        {backend.name: _hop_text(backend.hop) for backend in facts.backends},
    )


def _storage(facts: PolicyFacts) -> Iterator[Statement]:
    hardening = facts.hardening
    yield Statement(
        "storage.disk",
        "Nothing is written to any file; the operating system denies it to the process."
        if hardening.files_confined or hardening.root_read_only
        else "Nothing is written to any file; nothing but the program itself enforces it.",
        True,
        _words(files_confined=hardening.files_confined, root_read_only=hardening.root_read_only),
    )
    yield Statement(
        "storage.retention",
        "An image is held while its call is open, never longer than the ceiling, and released with the answer.",
        True,
        {"ceiling_s": f"{facts.retention_ceiling_s:g}"},
    )


def _memory(facts: PolicyFacts) -> Iterator[Statement]:
    hardening = facts.hardening
    ours = all(backend.ours for backend in facts.backends)
    yield Statement(
        "memory.scrubbing",
        "Memory that held an image is overwritten, or given back to the operating system, when it is freed, and within"
        " a second where it is kept for the next image"
        f"{'.' if ours else '; what inference servers run by others do with theirs is not known.'}"
        if hardening.freed_memory_scrubbed
        else "Memory that held an image is freed, but not overwritten.",
        hardening.freed_memory_scrubbed,
        _words(
            freed_memory_scrubbed=hardening.freed_memory_scrubbed,
            backends_scrubbed=hardening.freed_memory_scrubbed and ours,
        ),
    )
    unswapped = hardening.swap_off or hardening.memory_locked
    yield Statement(
        "memory.swap",
        "Images cannot reach a swap device."
        if unswapped
        else "Images may reach a swap device: swap is on, and memory could not be locked.",
        unswapped,
        _words(swap_off=hardening.swap_off, memory_locked=hardening.memory_locked),
    )
    undumped = hardening.core_dumps_off and hardening.dumpable_off
    yield Statement(
        "memory.dumps",
        "A crash leaves no memory image, and other processes of the same user cannot read the memory."
        if undumped
        else "A crash may leave a memory image, or other processes of the same user may read the memory.",
        undumped,
        _words(
            core_dumps_off=hardening.core_dumps_off,
            dumpable_off=hardening.dumpable_off,
            no_new_privileges=hardening.no_new_privileges,
            umask_safe=hardening.umask_safe,
            seccomp=hardening.seccomp,
        ),
    )


def _use(facts: PolicyFacts) -> Iterator[Statement]:
    discreet = all(backend.keeps_nothing for backend in facts.backends)
    yield Statement(
        "use.purpose",
        "Images are used to compute the answer to their call, and for nothing else: no training, no review."
        if discreet
        else "Images are used for their answer only here; an inference server may keep or log them, or does not tell.",
        discreet,
        {backend.name: _backend_text(backend) for backend in facts.backends},
    )
    yield Statement(
        "use.third_parties",
        "Images go to the inference servers listed here and to nobody else.",
        True,
        {backend.name: "run by this service" if backend.ours else "configured" for backend in facts.backends},
    )
    yield Statement(
        "use.logs",
        "One line a call, on standard output only: no content, no exact size, the caller's address shortened.",
        True,
        {"fields": " ".join(CALL_FIELDS), "peer": "/24 of IPv4, /48 of IPv6"},
    )
    yield _traces(facts.collector)
    yield Statement(
        "use.statistics",
        "Counters and histograms by model, outcome and tenant; nothing of an image.",
        True,
        _words(metrics_closed=facts.metrics_closed),
    )
    yield Statement(
        "use.metadata",
        "An answer carries pixels only: no EXIF, no profile, no colour where it is transparent.",
        True,
        {},
    )


def _traces(collector: CollectorFact | None) -> Statement:
    topic, said = "use.traces", "nothing of an image, and of the call what its log line has"
    if collector is None:
        return Statement(topic, "No traces of calls are sent to anybody.", True, {})
    text = (
        f"Traces of calls go to the collector named here: {said}."
        if collector.hop.protected
        else f"Traces of calls go to the collector named here, over a network in the clear: {said}."
    )
    return Statement(topic, text, collector.hop.protected, {collector.name: _hop_text(collector.hop)})


def _access(facts: PolicyFacts) -> Iterator[Statement]:
    yield Statement(
        "access.callers",
        "Callers must show a client certificate or a token, and are kept apart by what they may use."
        if facts.tenants_required
        else "Anybody who can reach the service may use it.",
        facts.tenants_required,
        _words(tenants_required=facts.tenants_required, reflection_closed=facts.reflection_closed),
    )
    yield Statement(
        "access.rights",
        "Nothing personal is held once a call has ended, so there is nothing to look up, correct or erase.",
        True,
        {},
    )


def _hop_text(hop: Hop) -> str:
    if not hop.tls:
        return hop.kind.value if hop.kind is not HopKind.NETWORK else "network, in the clear"
    return f"{hop.kind.value}, TLS 1.3{', mutual' if hop.mutual else ''}"


def _backend_text(backend: BackendFact) -> str:
    known = {"trace": backend.trace_off, "cache": backend.response_cache_off, "tensor log": backend.tensor_logging_off}
    return ", ".join(f"{name} {'unknown' if off is None else 'off' if off else 'on'}" for name, off in known.items())


def _words(**values: bool) -> dict[str, str]:
    return {name: "yes" if value else "no" for name, value in values.items()}
