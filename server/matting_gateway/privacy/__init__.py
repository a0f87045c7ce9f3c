# SPDX-License-Identifier: Apache-2.0
"""What keeps the promises about data, and what states them."""
