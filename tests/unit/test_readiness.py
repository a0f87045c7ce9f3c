# SPDX-License-Identifier: Apache-2.0
"""One pure answer to whether the gateway can serve, and what is missing if it cannot."""

import pytest
from matting_gateway.domain.lifecycle import Lifecycle
from matting_gateway.readiness import BackendView, Missing, Readiness, ServingState, readiness

UP = BackendView("a:1", healthy=True, seen="up", models=frozenset({"u2net", "other"}))
NOT_LOOKED_AT = BackendView("a:1", healthy=False)
REFUSED = BackendView("b:2", healthy=False, seen="connection refused", advice="start Triton there")


def asked(*backends: BackendView, lifecycle: Lifecycle = Lifecycle.SERVING) -> Readiness:
    return readiness(lifecycle, backends, "u2net")


def test_one_backend_that_serves_the_model_is_enough() -> None:
    told = asked(REFUSED, UP)
    assert (told.state, told.troubles) == (ServingState.SERVING, ())
    assert told.ready
    assert told.models == {"u2net": True, "other": True}


@pytest.mark.parametrize("lifecycle", [Lifecycle.STARTING, Lifecycle.DRAINING, Lifecycle.STOPPED])
def test_a_gateway_that_takes_nothing_is_not_ready_whatever_its_backends(lifecycle: Lifecycle) -> None:
    told = asked(UP, lifecycle=lifecycle)
    assert told.state.value == lifecycle.value
    assert not told.ready
    assert set(told.models.values()) == {False}


def test_nothing_is_said_to_be_missing_before_every_backend_was_looked_at() -> None:
    assert asked(NOT_LOOKED_AT, REFUSED) == Readiness(ServingState.STARTING)


TROUBLES = {
    "nobody answers": (REFUSED, Missing.BACKEND_UNAVAILABLE, ["connection refused", "start Triton there"]),
    "our own starts": (
        BackendView("a:1", healthy=False, seen="connection refused", starting=True),
        Missing.BACKEND_STARTING,
        ["loaded its models"],
    ),
    "no such model": (
        BackendView("a:1", healthy=True, seen="up", models=frozenset({"isnet"}), unready={"sam": "LOADING"}),
        Missing.MODEL_MISSING,
        ["no model u2net", "isnet, sam", "--default-model"],
    ),
    "an empty repository": (BackendView("a:1", healthy=True, seen="up"), Missing.MODEL_MISSING, ["there: none"]),
    "it is loading": (
        BackendView("a:1", healthy=True, seen="up", unready={"u2net": "LOADING"}),
        Missing.MODEL_LOADING,
        ["is loading"],
    ),
    "it did not load": (
        BackendView("a:1", healthy=True, seen="up", unready={"u2net": "Internal: no such file"}),
        Missing.MODEL_FAILED,
        ["Internal: no such file"],
    ),
    "it broke its contract": (
        BackendView("a:1", healthy=True, seen="up", models=frozenset({"u2net"}), suspects=frozenset({"u2net"})),
        Missing.MODEL_FAILED,
        ["configuration promises"],
    ),
    "its GPU is unused": (
        BackendView("a:1", healthy=True, seen="up", models=frozenset({"u2net"}), on_cpu_instead=frozenset({"u2net"})),
        Missing.GPU_UNUSED,
        ["asks for a GPU"],
    ),
}


@pytest.mark.parametrize(("view", "missing", "parts"), TROUBLES.values(), ids=TROUBLES)
def test_what_is_missing_is_named_with_what_was_seen_and_what_to_do(
    view: BackendView, missing: Missing, parts: list[str]
) -> None:
    told = asked(view)
    assert told.state is ServingState.NOT_READY
    (trouble,) = told.troubles
    assert trouble.missing is missing
    assert trouble.advice
    for part in (view.address, *parts):
        assert part in str(told)


def test_many_models_are_counted_and_not_all_named() -> None:
    view = BackendView("a:1", healthy=True, seen="up", models=frozenset(f"m{n:02}" for n in range(50)))
    assert "m19 and 30 more" in str(asked(view))


def test_every_backend_has_its_own_trouble() -> None:
    told = asked(REFUSED, TROUBLES["it is loading"][0])
    assert [trouble.missing for trouble in told.troubles] == [Missing.BACKEND_UNAVAILABLE, Missing.MODEL_LOADING]
