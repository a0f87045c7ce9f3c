# SPDX-License-Identifier: Apache-2.0
"""ORCA's load report as protobuf itself reads it: the message of xds.data.orca.v3, described here."""

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from matting_gateway.rpc.serving.load_report import LOAD_REPORT_KEY

_NAME = "xds.data.orca.v3.OrcaLoadReport"
# Of the published message; `rps`, an integer, has been replaced by `rps_fractional`.
_DOUBLES = {"cpu_utilization": 1, "mem_utilization": 2, "rps_fractional": 6, "eps": 7, "application_utilization": 9}


def _message_class() -> Any:
    package, _, name = _NAME.rpartition(".")
    file = descriptor_pb2.FileDescriptorProto(name="orca_load_report_of_tests.proto", package=package, syntax="proto3")
    message = file.message_type.add(name=name)
    for field, number in _DOUBLES.items():
        kind = descriptor_pb2.FieldDescriptorProto
        message.field.add(name=field, number=number, type=kind.TYPE_DOUBLE, label=kind.LABEL_OPTIONAL)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(_NAME))


OrcaLoadReport = _message_class()


@dataclass(frozen=True, slots=True)
class Report:
    """What a report says."""

    rps: float
    eps: float
    utilization: float


def read_report(content: bytes) -> Report:
    """Read a report; there may be nothing in it that the message has no field for."""
    report = OrcaLoadReport.FromString(content)
    if report.SerializeToString() != OrcaLoadReport(**{f.name: v for f, v in report.ListFields()}).SerializeToString():
        raise ValueError("the report has fields that are not of the message")
    return Report(report.rps_fractional, report.eps, report.application_utilization)


def report_in(trailing_metadata: Any) -> Report:
    """Read the report that came with a status."""
    return read_report(dict(trailing_metadata or ())[LOAD_REPORT_KEY])
