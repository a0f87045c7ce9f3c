# SPDX-License-Identifier: Apache-2.0
"""What a request for tensors says of its own deadline and priority, by its parameters."""

from open_inference.server_messages import InferHeader, Parameter

from matting_gateway.domain.job import Priority
from matting_gateway.errors import TensorInvalidError

TIMEOUT, PRIORITY = "timeout", "priority"
_MAX_TIMEOUT_S = 24 * 3600.0
# Parameters with which a job can still share a batch.
UNDERSTOOD = frozenset({TIMEOUT, PRIORITY, "triton_enable_empty_final_response", "binary_data_output"})


def timeout_s(header: InferHeader) -> float | None:
    """Return the request's own time limit in seconds, None where it gives none (0 included, as in Triton).

    Raises:
        TensorInvalidError: The parameter is no number of microseconds between 0 and a day.
    """
    value = header.parameters.get(TIMEOUT)
    if value is None:
        return None
    if not _is_integer(value):
        raise TensorInvalidError("invalid value type for 'timeout' parameter, expected int64_param.")
    seconds = int(value) / 1e6
    if not 0 <= seconds <= _MAX_TIMEOUT_S:
        raise TensorInvalidError(
            f"the 'timeout' parameter must be 0 to {int(_MAX_TIMEOUT_S * 1e6)} microseconds (a day), got {value}."
        )
    return seconds or None


def priority(header: InferHeader) -> Priority:
    """Return the request's priority: 1 is high, 0 (the default) and 2 are normal, anything above is low.

    Raises:
        TensorInvalidError: The parameter is no such number.
    """
    value = header.parameters.get(PRIORITY)
    if value is None:
        return Priority.NORMAL
    if not _is_integer(value) or int(value) < 0:
        raise TensorInvalidError("invalid value type for 'priority' parameter, expected int64_param or uint64_param.")
    return {0: Priority.NORMAL, 1: Priority.HIGH, 2: Priority.NORMAL}.get(int(value), Priority.LOW)


def _is_integer(value: Parameter) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
