# SPDX-License-Identifier: Apache-2.0
"""The data policy as a message."""

from matting.v1 import matting_service_pb2 as pb

from matting_gateway.privacy.statement import DataPolicy
from matting_gateway.rpc.boundary.status import duration


def policy_to(policy: DataPolicy) -> pb.DataPolicy:
    """Return the message of a statement."""
    return pb.DataPolicy(
        version=policy.version,
        revision=policy.revision,
        retention_ceiling=duration(policy.retention_ceiling_s),
        statements=[
            pb.DataPolicyStatement(topic=s.topic, statement=s.statement, kept=s.kept, values=dict(s.values))
            for s in policy.statements
        ],
    )
