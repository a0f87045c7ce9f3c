# SPDX-License-Identifier: Apache-2.0
"""The public contract: stubs are current, every component has a comment, nothing published ever breaks."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import google.api
import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2

ROOT = Path(__file__).parents[2]
PROTO = ROOT / "proto" / "matting" / "v1" / "matting_service.proto"
BASELINE = ROOT / "proto" / "matting" / "v1" / "published.txt"


def protoc(*arguments: str) -> None:
    includes = Path(next(iter(google.api.__path__))).parents[1]
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{includes}",
        *arguments,
        str(PROTO),
    ]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorProto:
    path = tmp_path_factory.mktemp("proto") / "contract.binpb"
    protoc("--include_source_info", f"--descriptor_set_out={path}")
    return descriptor_pb2.FileDescriptorSet.FromString(path.read_bytes()).file[0]


def components(contract: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    """Yield one line for each thing that a caller may rely on."""
    for service in contract.service:
        for rpc in service.method:
            streams = f"{'stream ' * rpc.client_streaming}{rpc.input_type} -> {'stream ' * rpc.server_streaming}"
            yield f"rpc {service.name}.{rpc.name}: {streams}{rpc.output_type}"
    for message in contract.message_type:
        for field in message.field:
            label = "repeated " if field.label == field.LABEL_REPEATED else ""
            kind = field.type_name or descriptor_pb2.FieldDescriptorProto.Type.Name(field.type)
            group = f" in {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
            yield f"field {message.name}.{field.name} = {field.number}: {label}{kind}{group}"
    for enum in contract.enum_type:
        for value in enum.value:
            yield f"value {enum.name}.{value.name} = {value.number}"


def test_committed_stubs_are_what_protoc_makes_of_the_contract(tmp_path: Path) -> None:
    protoc(f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", f"--grpc_python_out={tmp_path}")
    for made in sorted(tmp_path.rglob("*.py*")):
        committed = ROOT / "proto" / "gen" / "python" / made.relative_to(tmp_path)
        assert committed.read_text() == made.read_text(), f"{committed} is stale: run `make proto`"


def test_the_committed_reference_is_what_the_contracts_comments_say(tmp_path: Path) -> None:
    made = tmp_path / "api.md"
    subprocess.run([sys.executable, str(ROOT / "proto" / "reference.py"), str(made)], check=True)
    assert (ROOT / "docs" / "api.md").read_text() == made.read_text(), "docs/api.md is stale: run `make proto`"


def test_nothing_published_was_changed_or_removed(contract: descriptor_pb2.FileDescriptorProto) -> None:
    published = set(BASELINE.read_text().splitlines())
    assert published - set(components(contract)) == set(), "callers rely on these: bring them back"


def test_everything_in_the_contract_is_in_the_published_list(contract: descriptor_pb2.FileDescriptorProto) -> None:
    published = set(BASELINE.read_text().splitlines())
    assert set(components(contract)) - published == set(), f"append these lines to {BASELINE.relative_to(ROOT)}"


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
