# SPDX-License-Identifier: Apache-2.0
"""Files to pixels and pixels to files; the arithmetic between is matting_pixels."""
