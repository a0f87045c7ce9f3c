# SPDX-License-Identifier: Apache-2.0
"""The fast reader never disagrees with protobuf; `tests/bench/fuzz_infer.py` in make fuzz goes on for longer."""

import pytest
from testkit.infer_fuzz import fuzz
from testkit.long_runs import short_or_long


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_fast_reader_and_protobuf_agree(seed: int) -> None:
    assert fuzz(short_or_long(12_500, 50_000), seed) is None
