# SPDX-License-Identifier: Apache-2.0
"""Load-test client of the matting gateway."""
