# SPDX-License-Identifier: Apache-2.0
"""What the data policy is made from: the settings in force, the hardening achieved, the backends as they are."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from matting_gateway.configuration.settings import Settings
from matting_gateway.privacy.hardening import Hardening
from matting_gateway.privacy.statement import BackendFact, CollectorFact, PolicyFacts
from matting_gateway.privacy.transport import check_backend, check_collector, check_listen
from matting_gateway.triton.discovery.backend_data_handling import BackendDataHandling


def policy_facts(
    settings: Settings,
    hardening: Hardening,
    data_handlings: Mapping[str, BackendDataHandling],
    *,
    own_backend: str | None,
) -> PolicyFacts:
    """Return the facts.

    Args:
        settings: Those in force.
        hardening: What of it was achieved.
        data_handlings: What the Tritons do with tensors, by configured address.
        own_backend: The address of the Triton that the gateway runs itself, if any.
    """
    tls = settings.tls is not None
    listeners = (
        check_listen(
            address,
            tls=tls,
            mutual=settings.tls is not None and settings.tls.client_ca_file is not None,
            plaintext_allowed=settings.allow_plaintext,
        )
        for address in settings.listen
    )
    return PolicyFacts(
        retention_ceiling_s=settings.door.max_residency_s,
        listeners=tuple(listeners),
        backends=tuple(_backends(settings, own_backend, data_handlings)),
        hardening=hardening,
        tenants_required=settings.tenants_file is not None,
        metrics_closed=settings.close_metrics,
        reflection_closed=settings.close_reflection,
        client_shared_memory=settings.tensor_door and settings.client_shared_memory,
        proxies=tuple(map(str, settings.trusted_proxies)),
        collector=_collector(settings),
    )


def _collector(settings: Settings) -> CollectorFact | None:
    endpoint, tls = settings.tracing.endpoint, settings.otlp_tls
    if not endpoint:
        return None
    hop = check_collector(
        endpoint,
        tls=tls is not None,
        mutual=tls is not None and tls.certificate_file is not None,
        plaintext_allowed=settings.allow_plaintext,
    )
    return CollectorFact(endpoint, hop)


def _backends(
    settings: Settings, own_backend: str | None, data_handlings: Mapping[str, BackendDataHandling]
) -> Iterable[BackendFact]:
    tls = settings.triton_tls
    for address in settings.triton if own_backend is None else (own_backend,):
        hop = check_backend(
            address,
            tls=tls is not None,
            mutual=tls is not None and tls.certificate_file is not None,
            plaintext_allowed=settings.allow_plaintext,
        )
        data_handling = data_handlings.get(address, BackendDataHandling())
        yield BackendFact(address, hop, ours=own_backend is not None, **asdict(data_handling))
