# SPDX-License-Identifier: Apache-2.0
"""Where jobs wait, and what leaves when."""
