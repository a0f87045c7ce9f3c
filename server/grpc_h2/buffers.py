# SPDX-License-Identifier: Apache-2.0
"""What bytes travel as."""

from typing import TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
