# SPDX-License-Identifier: Apache-2.0
"""What can be set about admission."""

from dataclasses import dataclass

from matting_gateway.options import MIB, above_zero, option


@dataclass(frozen=True, slots=True)
class GateSettings:
    """What may be held at once.

    `budget_bytes` bounds the sum of all permits. Calls that did not promise their size, until
    their body is read and their need known, may together hold at most `unpromised_share` of the
    budget, so that silent or slow ones never shut out the others.
    """

    budget_bytes: int = option(
        2048 * MIB, "--memory-budget-mib", "Memory for all calls together.", check=above_zero, unit=MIB
    )
    max_permit_count: int = option(4096, "--max-calls", "Calls admitted at once.", check=above_zero)
    max_waiting_count: int = 4096
    unpromised_share: float = 0.5
