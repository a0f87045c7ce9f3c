# SPDX-License-Identifier: Apache-2.0
"""The local Triton starts, serves, and leaves nothing behind, on the real thing."""

import pytest
from matting_triton.local import LocalTriton

pytestmark = pytest.mark.triton


def test_serves_the_test_models(triton_server: LocalTriton) -> None:
    triton_server.wait_ready(every_model=True)
    assert triton_server.is_running
