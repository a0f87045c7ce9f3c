# SPDX-License-Identifier: Apache-2.0
import dataclasses

import pytest
from matting_gateway.privacy.hardening import Hardening
from matting_gateway.privacy.statement import BackendFact, DataPolicy, PolicyFacts, data_policy
from matting_gateway.privacy.transport import Hop, HopKind
from matting_gateway.telemetry.logs import CALL_FIELDS

LOOPBACK = Hop(HopKind.LOOPBACK, tls=False)
CLEAR = Hop(HopKind.NETWORK, tls=False)
HARD = Hardening(
    core_dumps_off=True,
    dumpable_off=True,
    memory_locked=True,
    swap_off=True,
    umask_safe=True,
    no_new_privileges=True,
    freed_memory_scrubbed=True,
    files_confined=True,
    root_read_only=True,
    seccomp=True,
)
BACKEND = BackendFact("local", LOOPBACK, ours=True, trace_off=True, response_cache_off=True, tensor_logging_off=True)
FACTS = PolicyFacts(
    retention_ceiling_s=60.0,
    listeners=(LOOPBACK,),
    backends=(BACKEND,),
    hardening=HARD,
    tenants_required=True,
    metrics_closed=True,
    reflection_closed=True,
    client_shared_memory=False,
)


def broken(policy: DataPolicy) -> set[str]:
    return {statement.topic for statement in policy.statements if not statement.kept}


def with_hardening(**changes: bool) -> PolicyFacts:
    return dataclasses.replace(FACTS, hardening=dataclasses.replace(HARD, **changes))  # type: ignore[arg-type]  # of flags


def with_backend(**changes: object) -> PolicyFacts:
    return dataclasses.replace(FACTS, backends=(dataclasses.replace(BACKEND, **changes),))  # type: ignore[arg-type]  # a test names fields


def test_with_everything_in_place_every_promise_is_kept() -> None:
    assert broken(data_policy(FACTS)) == set()


def test_the_same_facts_make_the_same_revision() -> None:
    assert data_policy(FACTS) == data_policy(dataclasses.replace(FACTS))


@pytest.mark.parametrize(
    ("facts", "topics"),
    [
        (dataclasses.replace(FACTS, listeners=(LOOPBACK, CLEAR)), {"transport.callers"}),
        (with_backend(hop=CLEAR), {"transport.backends"}),
        (with_backend(trace_off=False), {"use.purpose"}),
        (with_backend(response_cache_off=None), {"use.purpose"}),
        (with_backend(tensor_logging_off=False), {"use.purpose"}),
        (with_hardening(freed_memory_scrubbed=False), {"memory.scrubbing"}),
        (with_hardening(swap_off=False, memory_locked=False), {"memory.swap"}),
        (with_hardening(core_dumps_off=False), {"memory.dumps"}),
        (with_hardening(dumpable_off=False), {"memory.dumps"}),
        (dataclasses.replace(FACTS, tenants_required=False), {"access.callers"}),
    ],
)
def test_what_breaks_a_promise_is_said_of_that_promise_only(facts: PolicyFacts, topics: set[str]) -> None:
    assert broken(data_policy(facts)) == topics


@pytest.mark.parametrize("changes", [{"swap_off": False}, {"memory_locked": False}])
def test_locked_memory_or_no_swap_is_enough(changes: dict[str, bool]) -> None:
    assert broken(data_policy(with_hardening(**changes))) == set()


@pytest.mark.parametrize(
    "facts",
    [
        dataclasses.replace(FACTS, retention_ceiling_s=61.0),
        dataclasses.replace(FACTS, listeners=(Hop(HopKind.LOOPBACK, tls=True),)),
        dataclasses.replace(FACTS, listeners=(Hop(HopKind.LOOPBACK, tls=True, mutual=True),)),
        dataclasses.replace(FACTS, backends=()),
        dataclasses.replace(FACTS, tenants_required=False),
        dataclasses.replace(FACTS, metrics_closed=False),
        dataclasses.replace(FACTS, reflection_closed=False),
        dataclasses.replace(FACTS, client_shared_memory=True),
        with_backend(ours=False),
        with_backend(trace_off=None),
        *(with_hardening(**{f.name: False}) for f in dataclasses.fields(Hardening) if f.name != "problems"),
    ],
)
def test_every_fact_is_in_the_statement_and_changes_its_revision(facts: PolicyFacts) -> None:
    assert data_policy(facts).revision != data_policy(FACTS).revision


def test_topics_are_unique_and_each_says_a_sentence() -> None:
    statements = data_policy(FACTS).statements
    assert len({s.topic for s in statements}) == len(statements)
    assert all(s.statement.endswith(".") for s in statements)


def test_the_logged_fields_are_those_that_are_logged() -> None:
    (logs,) = [s for s in data_policy(FACTS).statements if s.topic == "use.logs"]
    assert logs.values["fields"].split() == list(CALL_FIELDS)


def test_hops_are_named_by_what_they_are() -> None:
    hops = (CLEAR, Hop(HopKind.NETWORK, tls=True, mutual=True), Hop(HopKind.UNIX, tls=False))
    values = data_policy(dataclasses.replace(FACTS, listeners=hops)).statements[0].values
    said = [values[f"listener_{number}"] for number in range(3)]
    assert said == ["network, in the clear", "network, TLS 1.3, mutual", "unix"]
