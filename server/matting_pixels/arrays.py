# SPDX-License-Identifier: Apache-2.0
"""What arrays are called. Their dtypes, shapes and ranges are in the docstrings: OpenCV's types know none of it."""

from typing import Any, TypeAlias

from numpy.typing import NDArray

# uint8, or uint16 where the docstring allows it.
Pixels: TypeAlias = NDArray[Any]
# float32.
Floats: TypeAlias = NDArray[Any]
