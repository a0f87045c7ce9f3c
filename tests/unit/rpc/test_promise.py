# SPDX-License-Identifier: Apache-2.0
"""What a call holds before its body is read is enough for what it turns out to need: nobody is refused half way."""

import pytest
from matting_gateway.domain.model import Fit, ModelInput
from matting_gateway.domain.photo import OutputSpec
from matting_gateway.imaging.memory import working_bytes
from matting_gateway.rpc.boundary.promise import PIXELS_KEY, REQUEST_BYTES_KEY, promise_of
from matting_gateway.rpc.settings import DoorSettings


@pytest.mark.parametrize("side_px", [1, 320, 1600, 4000])
@pytest.mark.parametrize("grid_px", [320, 1024])
def test_a_kept_promise_covers_a_photo_and_its_alpha(side_px: int, grid_px: int) -> None:
    settings = DoorSettings()
    request_bytes = 3 * side_px * side_px
    metadata: dict[str, str | bytes] = {REQUEST_BYTES_KEY: str(request_bytes), PIXELS_KEY: str(side_px * side_px)}
    grid = ModelInput(width_px=grid_px, height_px=grid_px, fit=Fit.STRETCH, multiple_px=1)
    needed_bytes = request_bytes + working_bytes(side_px, side_px, None, (), (OutputSpec(),), grid, exact=False)
    assert promise_of(metadata, settings).byte_count(settings) >= needed_bytes
