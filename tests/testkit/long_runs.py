# SPDX-License-Identifier: Apache-2.0
"""How long tests go on that could go on for ever: `make check-long` has them do so, nightly and before a release."""

import os


def short_or_long(short: int, long: int) -> int:
    """Return how often, or for how many seconds, something is tried in this run."""
    return long if os.environ.get("MATTING_LONG_TESTS") else short
