# SPDX-License-Identifier: Apache-2.0
"""Classes and modules are called by the field's words; those that the project once made up do not come back."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What each stood for is in CONTRIBUTING's table of words.
OLD_CLASSES = frozenset(
    {
        "Rests", "Visit", "Reception", "StreamReception", "Hold", "Holding", "Taker", "Wish", "Flight", "Fleet",
        "Group", "Lane", "Gathering", "Silence", "Passage", "Practice", "Caretaker", "Rooms", "Doors", "Imaging",
        "StandIn",
    }
)  # fmt: skip
# Words that are others' elsewhere: what they must not mean.
OLD_QUALIFIED = frozenset(
    {
        "matting_gateway.rpc.boundary.call_info.Call",
        "matting_gateway.batching.endpoints.endpoint_model.Server",
        "grpc_h2.http2.control_frame_limiter.Patience",
        "matting_gateway.rpc.tensor.passed_on.own_words",
    }
)
OLD_MODULES = frozenset(
    {
        "rests", "visit", "reception", "fleet", "group", "gathering", "silence", "nuisance", "passage", "practice",
        "caretaker", "decoder_child", "decoder_process", "room", "rooms", "doors",
    }
)  # fmt: skip


def definitions() -> Iterator[tuple[str, str]]:
    """Yield module and name of all classes, functions and aliases of the gateway and its packages."""
    for package in ("matting_gateway", "grpc_h2", "open_inference"):
        for path in sorted((ROOT / "server" / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT / "server").with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef | ast.FunctionDef):
                    yield module, node.name
                elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    yield module, node.target.id


@pytest.mark.slow
def test_no_class_has_a_word_of_its_own_for_what_the_field_has_one_for() -> None:
    found = {f"{module}.{name}" for module, name in definitions()}
    assert {name for name in found if name.rpartition(".")[2] in OLD_CLASSES} == set()
    assert found & OLD_QUALIFIED == set()


def test_no_module_has_one_either() -> None:
    server = ROOT / "server"
    paths = [
        p for package in ("matting_gateway", "grpc_h2", "open_inference") for p in (server / package).rglob("*.py")
    ]
    assert {str(path.relative_to(ROOT)) for path in paths if path.stem in OLD_MODULES} == set()
