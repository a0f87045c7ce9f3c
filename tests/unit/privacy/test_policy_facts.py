# SPDX-License-Identifier: Apache-2.0
"""Which settings the data policy depends on: each that touches data changes it, no other does."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from matting_gateway.configuration.settings import OPTIONS
from matting_gateway.policy_facts import policy_facts
from matting_gateway.privacy.statement import DataPolicy, data_policy
from matting_gateway.triton.discovery.backend_data_handling import BackendDataHandling
from testkit.settings import build_settings

from .test_statement import HARD

PEM = Path("a.pem")
REMOTE: dict[str, Any] = {"triton": ("10.0.0.9:8001",), "triton_tls_ca": PEM}
TLS = {"tls_certificate": PEM, "tls_key": PEM}
OUR_NAME = {"triton_tls_certificate": PEM, "triton_tls_key": PEM}
COLLECTOR = {"otlp_endpoint": "10.0.0.7:4317", "otlp_tls_ca": PEM}
OUR_COLLECTOR_NAME = {"otlp_tls_certificate": PEM, "otlp_tls_key": PEM}
# What is given besides REMOTE, before and after, by the options that make the difference.
STATED: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, Any]]] = {
    ("listen",): ({}, {"listen": ("unix:/run/gateway.sock",)}),
    ("triton",): ({}, {"triton": ("10.0.0.8:8001",)}),
    ("tls_certificate", "tls_key"): ({}, TLS),
    ("tls_client_ca",): (TLS, {**TLS, "tls_client_ca": PEM}),
    ("triton_tls_ca", "allow_plaintext"): ({}, {"triton_tls_ca": None, "allow_plaintext": REMOTE["triton"]}),
    ("triton_tls_certificate", "triton_tls_key"): ({}, OUR_NAME),
    ("tenants",): ({}, {"tenants": PEM}),
    ("close_metrics",): ({}, {"close_metrics": True}),
    ("close_reflection",): ({}, {"close_reflection": True}),
    ("client_shared_memory",): ({}, {"client_shared_memory": True}),
    ("trusted_proxy",): ({}, {"trusted_proxy": ("10.0.0.0/8",)}),
    ("otlp_endpoint",): ({}, {"otlp_endpoint": "127.0.0.1:4317"}),
    ("otlp_tls_ca",): ({"otlp_endpoint": "127.0.0.1:4317"}, {"otlp_endpoint": "127.0.0.1:4317", "otlp_tls_ca": PEM}),
    ("otlp_tls_certificate", "otlp_tls_key"): (COLLECTOR, {**COLLECTOR, **OUR_COLLECTOR_NAME}),
    ("max_residency_s",): ({}, {"max_residency_s": 7.0}),
}
# What became of these is read back from the system, and stated by the hardening.
BY_THE_SYSTEM = {"lock_memory", "scrub_memory", "confine_files"}
# Limits, times and sizes: nothing in them says what becomes of a photo.
SILENT = {
    *("metrics_listen", "repository", "cache", "default_model", "default_deadline_s", "drain_timeout_s"),
    *("max_message_mib", "memory_budget_mib", "max_calls", "max_streams", "max_stream_items"),
    *("stream_idle_timeout_s", "receive_timeout_s", "max_encoded_mib", "max_pixels", "max_side_px", "formats"),
    *("allow_animated", "imaging_workers", "exact_resize", "triton_shared_memory", "tensor_door"),
    *("max_message_fields", "max_list_entries", "reuse_port", "log_format", "log_health_checks"),
    *("max_connection_age_s", "max_connection_age_grace_s", "load_reports"),
    *("trace_sample_ratio", "trace_asked_per_s"),
}


def policy(values: dict[str, Any], **practices: BackendDataHandling) -> DataPolicy:
    settings = build_settings(values)
    return data_policy(policy_facts(settings, HARD, practices, own_backend=None))


def test_of_every_option_it_is_known_whether_the_policy_speaks_of_it() -> None:
    stated = {name for names in STATED for name in names}
    assert {option.name for option in OPTIONS} == stated | BY_THE_SYSTEM | SILENT


@pytest.mark.parametrize(("before", "after"), [pytest.param(*STATED[names], id=" ".join(names)) for names in STATED])
def test_the_policy_changes_with_the_setting(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert policy({**REMOTE, **before}).revision != policy({**REMOTE, **after}).revision


def test_what_is_allowed_in_the_clear_is_stated_as_not_kept() -> None:
    stated = policy({**REMOTE, "listen": ("0.0.0.0:1",), "allow_plaintext": ("0.0.0.0:1",)})
    assert {s.topic for s in stated.statements if not s.kept} >= {"transport.callers"}


@pytest.mark.parametrize(
    "practice",
    [BackendDataHandling(trace_off=False), BackendDataHandling(response_cache_off=False), BackendDataHandling()],
)
def test_what_a_remote_triton_does_is_stated(practice: BackendDataHandling) -> None:
    discreet = BackendDataHandling(trace_off=True, response_cache_off=True, tensor_logging_off=True)
    address = REMOTE["triton"][0]
    told = [policy(REMOTE, **{address: one}) for one in (discreet, dataclasses.replace(practice))]
    (kept, not_kept) = ({s.topic: s.kept for s in one.statements}["use.purpose"] for one in told)
    assert (kept, not_kept) == (True, False)


def test_our_own_certificate_towards_a_triton_is_stated() -> None:
    stated = policy({**REMOTE, **OUR_NAME})
    (hop,) = {s.topic: s.values for s in stated.statements}["transport.backends"].values()
    assert hop == "network, TLS 1.3, mutual"
