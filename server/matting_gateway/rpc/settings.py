# SPDX-License-Identifier: Apache-2.0
"""What can be set about the doors."""

from dataclasses import dataclass
from pathlib import Path

from open_inference.message_limits import MessageLimits

from matting_gateway.options import MIB, Option, above_zero, not_below_zero, option, options_within

_GRPC_LIMIT_MIB = 2048


def _message_mib(value: int) -> None:
    above_zero(value)
    if value >= _GRPC_LIMIT_MIB:
        raise ValueError(f"must be below {_GRPC_LIMIT_MIB}, gRPC's own limit, not {value}")


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """Limits of the photo door.

    What a photo may need at once in the imaging room is taken to be `photo_bytes` and
    `worst_bytes_per_pixel` for each pixel, until its header and the results wanted are known.
    """

    max_message_bytes: int = option(
        64 * MIB, "--max-message-mib", "Largest gRPC message taken.", check=_message_mib, unit=MIB
    )
    max_pixels: int = 50_000_000
    photo_bytes: int = 20 << 20
    worst_bytes_per_pixel: int = 12
    default_deadline_s: float = option(
        30.0, "--default-deadline-s", "Deadline of calls that have none.", check=above_zero
    )
    receive_timeout_s: float = option(
        20.0, "--receive-timeout-s", "How long a request may take to arrive.", check=above_zero
    )
    max_residency_s: float = option(120.0, "--max-residency-s", "The longest that any image is held.", check=above_zero)
    max_stream_count: int = option(1024, "--max-streams", "Streams open at once.", check=above_zero)
    max_stream_item_count: int = option(
        64, "--max-stream-items", "Items in work at once on a stream.", check=above_zero
    )
    stream_idle_timeout_s: float = option(
        60.0, "--stream-idle-timeout-s", "A stream idle for so long is closed.", check=above_zero
    )
    max_connection_age_s: float = option(
        0.0,
        "--max-connection-age-s",
        "A caller's connection so old is sent elsewhere by GOAWAY, give or take a tenth; 0: never.",
        check=not_below_zero,
    )
    max_connection_age_grace_s: float = option(
        0.0,
        "--max-connection-age-grace-s",
        "How long calls of a connection too old may go on before it is cut; 0: as long as they take.",
        check=not_below_zero,
    )
    load_reports: bool = option(
        True, "--load-reports", "Tell callers with each answer how loaded the gateway is (ORCA, for balancers)."
    )
    message_limits: MessageLimits = options_within(
        MessageLimits(),
        max_fields=Option("--max-message-fields", "Most fields of a message, at all levels.", check=above_zero),
        max_entries=Option("--max-list-entries", "Most entries of a list in a message.", check=above_zero),
    )


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """The listener's files, PEM. With `client_ca_file` callers must show a certificate that it signed."""

    certificate_file: Path
    key_file: Path
    client_ca_file: Path | None = None
