# SPDX-License-Identifier: Apache-2.0
"""Client of the matting gateway."""
