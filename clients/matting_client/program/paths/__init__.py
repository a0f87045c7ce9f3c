# SPDX-License-Identifier: Apache-2.0
"""Which files are read and written."""
