# SPDX-License-Identifier: Apache-2.0
"""The public contract: stubs are current, every component has a comment, nothing published ever breaks."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto" / "matting" / "v1" / "matting_service.proto"
PUBLISHED = ROOT / "proto" / "published.binpb"
BUF = Path(sys.executable).with_name("buf")
# What callers would notice, and the rule of buf's that says so.
BREAKING = {
    "a field gets another number": ("bytes content = 1 ", "bytes content = 9 ", "FIELD_NO_DELETE"),
    "a field gets another name": ("int32 left_px = 1;", "int32 left_edge_px = 1;", "FIELD_SAME_NAME"),
    "a field gets another type": ("int32 left_px = 1;", "int64 left_px = 1;", "FIELD_SAME_TYPE"),
    "a field becomes a list": ("ModelRef model = 2;", "repeated ModelRef model = 2;", "FIELD_SAME_CARDINALITY"),
    "a field leaves its oneof": ("oneof source {", "oneof photo {", "FIELD_SAME_ONEOF"),
    "a value gets another name": ("OUTPUT_KIND_ALPHA = 1;", "OUTPUT_KIND_MATTE = 1;", "ENUM_VALUE_SAME_NAME"),
    "an RPC goes": (
        "  rpc ListModels(ListModelsRequest) returns (ListModelsResponse);\n",
        "",
        "RPC_NO_DELETE",
    ),
    "an RPC becomes a stream": (
        "returns (ListModelsResponse)",
        "returns (stream ListModelsResponse)",
        "RPC_SAME_SERVER_STREAMING",
    ),
}


def protoc(*arguments: str) -> None:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", *arguments, str(PROTO)]
    subprocess.run(command, check=True, capture_output=True)


def buf(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run buf; skip the test in an environment that was made before it belonged there."""
    if not BUF.exists():
        pytest.skip("buf is not installed: `make setup`")
    return subprocess.run([BUF, *arguments], capture_output=True, text=True)


def changed(folder: Path, old: str, new: str) -> Path:
    """Return a copy of `proto` whose contract has something else in the one place where it says `old`."""
    made = folder / "proto"
    shutil.copytree(ROOT / "proto", made, ignore=shutil.ignore_patterns("gen"))
    contract = made / PROTO.relative_to(ROOT / "proto")
    before, found, after = contract.read_text().partition(old)
    assert found
    contract.write_text(before + new + after)
    return made


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorProto:
    path = tmp_path_factory.mktemp("proto") / "contract.binpb"
    protoc("--include_source_info", f"--descriptor_set_out={path}")
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file[0]


def test_committed_stubs_are_what_protoc_makes_of_the_contract(tmp_path: Path) -> None:
    protoc(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}")
    stubs = sorted(tmp_path.rglob("*.py*"))
    assert len(stubs) == 3
    for made in stubs:
        committed = ROOT / "proto" / "gen" / "python" / made.relative_to(tmp_path)
        assert committed.read_text() == made.read_text(), f"{committed} is stale: run `make proto`"


@pytest.mark.slow
def test_the_committed_reference_is_what_the_contracts_comments_say(tmp_path: Path) -> None:
    made = tmp_path / "api.md"
    subprocess.run([sys.executable, str(ROOT / "proto" / "reference.py"), str(made)], check=True)
    assert (ROOT / "docs" / "api.md").read_text() == made.read_text(), "docs/api.md is stale: run `make proto`"


@pytest.mark.slow
def test_buf_finds_nothing_to_lint() -> None:
    found = buf("lint", ROOT / "proto")
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.slow
def test_nothing_published_was_changed_or_removed() -> None:
    found = buf("breaking", ROOT / "proto", "--against", PUBLISHED)
    assert found.returncode == 0, f"callers rely on this:\n{found.stdout}{found.stderr}"


@pytest.mark.slow
def test_everything_in_the_contract_is_among_what_is_published() -> None:
    found = buf("breaking", PUBLISHED, "--against", ROOT / "proto")
    assert found.returncode == 0, f"{PUBLISHED.name} is stale, run `make proto`:\n{found.stdout}{found.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("what", BREAKING)
def test_what_callers_would_notice_is_found(what: str, tmp_path: Path) -> None:
    old, new, rule = BREAKING[what]
    found = buf("breaking", changed(tmp_path, old, new), "--against", PUBLISHED, "--error-format", "json")
    assert found.returncode == 100, found.stderr
    assert f'"type":"{rule}"' in found.stdout


@pytest.mark.slow
def test_an_addition_breaks_nothing_and_has_to_be_published(tmp_path: Path) -> None:
    proto = changed(tmp_path, "message CancelItem {}", "message CancelItem {\n  string reason = 1;\n}")
    assert buf("breaking", proto, "--against", PUBLISHED).returncode == 0
    assert buf("breaking", PUBLISHED, "--against", proto).returncode == 100


def test_every_component_has_a_comment_of_whole_sentences(contract: descriptor_pb2.FileDescriptorProto) -> None:
    commented = {tuple(loc.path): loc.leading_comments.strip() for loc in contract.source_code_info.location}
    paths: dict[tuple[int, ...], str] = {}
    for s, service in enumerate(contract.service):
        paths[6, s] = service.name
        paths |= {(6, s, 2, m): f"{service.name}.{rpc.name}" for m, rpc in enumerate(service.method)}
    for m, message in enumerate(contract.message_type):
        paths[4, m] = message.name
        paths |= {(4, m, 2, f): f"{message.name}.{field.name}" for f, field in enumerate(message.field)}
        paths |= {(4, m, 8, o): f"{message.name}.{oneof.name}" for o, oneof in enumerate(message.oneof_decl)}
    for e, enum in enumerate(contract.enum_type):
        paths[5, e] = enum.name
        paths |= {(5, e, 2, v): f"{enum.name}.{value.name}" for v, value in enumerate(enum.value)}
    assert [name for path, name in paths.items() if not commented.get(path, "").endswith(".")] == []


def request_messages(contract: descriptor_pb2.FileDescriptorProto) -> set[str]:
    """Return the names of every message that can be part of a request."""
    fields = {m.name: {f.type_name.rsplit(".", 1)[-1] for f in m.field} for m in contract.message_type}
    found: set[str] = set()
    todo = {rpc.input_type.rsplit(".", 1)[-1] for service in contract.service for rpc in service.method}
    while todo:
        name = todo.pop()
        found.add(name)
        todo |= (fields[name] & set(fields)) - found
    return found


def test_every_request_field_says_whether_it_is_required(contract: descriptor_pb2.FileDescriptorProto) -> None:
    silent = [
        f"{message.name}.{field.name}"
        for message in contract.message_type
        if message.name in request_messages(contract)
        for field in message.field
        if not field.options.Extensions[field_behavior_pb2.field_behavior]
    ]
    assert silent == []


def test_enums_begin_with_unspecified_and_values_carry_their_prefix(
    contract: descriptor_pb2.FileDescriptorProto,
) -> None:
    for enum in contract.enum_type:
        prefix = "".join("_" + c if c.isupper() else c.upper() for c in enum.name).lstrip("_")
        assert enum.value[0].name == f"{prefix}_UNSPECIFIED"
        assert all(value.name.startswith(prefix + "_") for value in enum.value)
