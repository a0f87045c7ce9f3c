# SPDX-License-Identifier: Apache-2.0
"""Writes the contract and its comments as Markdown: `reference.py PAGE`, from the repository's root (`make proto`)."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2

PROTO = Path(__file__).parent
CONTRACT = PROTO / "matting" / "v1" / "matting_service.proto"
_PACKAGE = ".matting.v1."
# Numbers of the fields of FileDescriptorProto and below, of which the places of comments consist.
_MESSAGES, _ENUMS, _SERVICES = 4, 5, 6
_METHODS, _FIELDS, _ONEOFS, _VALUES = 2, 2, 8, 2

HEAD = """# API reference

<!-- Made by `make proto` from the comments of the contract. -->

What `matting.v1.MattingService` takes and answers, from the comments of
[`matting_service.proto`](../proto/matting/v1/matting_service.proto). [proto/README.md](../proto/README.md) says how
it may change; [errors](errors.md) has the reasons that calls fail for. The tensor door,
`inference.GRPCInferenceService`, is that of the
[Open Inference Protocol](https://github.com/kserve/open-inference-protocol) and not repeated here.
"""


def descriptor() -> descriptor_pb2.FileDescriptorProto:
    """Return the contract with its comments."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "contract.binpb")
        command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}"]
        command += ["--include_source_info", f"--descriptor_set_out={made}", str(CONTRACT)]
        subprocess.run(command, check=True)
        return descriptor_pb2.FileDescriptorSet.FromString(made.read_bytes()).file[0]


class Reference:
    """The lines of the page; knows where the comments are."""

    def __init__(self, contract: descriptor_pb2.FileDescriptorProto) -> None:
        self._contract = contract
        self._comments = {tuple(at.path): at.leading_comments for at in contract.source_code_info.location}

    def lines(self) -> Iterator[str]:
        """Yield the page, line by line."""
        yield HEAD
        for number, service in enumerate(self._contract.service):
            yield from self._service(service, (_SERVICES, number))
        yield "## Messages\n"
        for number, message in enumerate(self._contract.message_type):
            yield from self._message(message, (_MESSAGES, number))
        yield "## Enumerations\n"
        for number, enum in enumerate(self._contract.enum_type):
            yield from self._enum(enum, (_ENUMS, number))

    def _text(self, *place: int) -> str:
        """Return a comment with its paragraphs, each on one line."""
        paragraphs = self._comments[place].strip().split("\n\n")
        return "\n\n".join(" ".join(line.strip() for line in paragraph.splitlines()) for paragraph in paragraphs)

    def _cell(self, *place: int) -> str:
        return self._text(*place).replace("\n\n", " ").replace("|", r"\|")

    def _service(self, service: descriptor_pb2.ServiceDescriptorProto, place: tuple[int, ...]) -> Iterator[str]:
        yield f"## {service.name}\n\n{self._text(*place)}\n"
        for number, rpc in enumerate(service.method):
            asked, answered = "stream of " * rpc.client_streaming, "stream of " * rpc.server_streaming
            yield f"### {rpc.name}\n"
            yield f"{asked}{_linked(rpc.input_type)} → {answered}{_linked(rpc.output_type)}\n"
            yield f"{self._text(*place, _METHODS, number)}\n"

    def _message(self, message: descriptor_pb2.DescriptorProto, place: tuple[int, ...]) -> Iterator[str]:
        yield f"### {message.name}\n\n{self._text(*place)}\n"
        if not message.field:
            return
        maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
        yield "| field | number | type | |\n|---|---|---|---|"
        for number, field in enumerate(message.field):
            required = field_behavior_pb2.REQUIRED in field.options.Extensions[field_behavior_pb2.field_behavior]
            what = "Required. " * required + self._cell(*place, _FIELDS, number)
            if field.HasField("oneof_index"):
                what = f"One of `{message.oneof_decl[field.oneof_index].name}`. {what}"
            yield f"| `{field.name}` | {field.number} | {_type(field, maps)} | {what} |"
        yield ""
        for number, oneof in enumerate(message.oneof_decl):
            yield f"`{oneof.name}`: {self._cell(*place, _ONEOFS, number)}\n"

    def _enum(self, enum: descriptor_pb2.EnumDescriptorProto, place: tuple[int, ...]) -> Iterator[str]:
        yield f"### {enum.name}\n\n{self._text(*place)}\n"
        yield "| value | number | |\n|---|---|---|"
        for number, value in enumerate(enum.value):
            yield f"| `{value.name}` | {value.number} | {self._cell(*place, _VALUES, number)} |"
        yield ""


def _linked(name: str) -> str:
    """Write a type's name, as a link where this page has it."""
    short = name.removeprefix(_PACKAGE)
    return f"[{short}](#{short.lower()})" if short != name else f"`{name.lstrip('.')}`"


def _type(field: descriptor_pb2.FieldDescriptorProto, maps: dict[str, descriptor_pb2.DescriptorProto]) -> str:
    if entry := maps.get(field.type_name.rsplit(".", 1)[-1]):
        return f"map of {_type(entry.field[0], {})} to {_type(entry.field[1], {})}"
    name = descriptor_pb2.FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    repeated = "repeated " if field.label == field.LABEL_REPEATED else ""
    return repeated + (_linked(field.type_name) if field.type_name else name)


def main() -> None:
    """Write the page that the command line names."""
    Path(sys.argv[1]).write_text("\n".join(Reference(descriptor()).lines()).rstrip("\n") + "\n")


if __name__ == "__main__":
    main()
