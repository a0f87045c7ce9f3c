# SPDX-License-Identifier: Apache-2.0
"""How a network wants its photo and what its answer means: data."""
