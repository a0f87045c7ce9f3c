# SPDX-License-Identifier: Apache-2.0
"""Settings: the table of options, values as users give them, and all that is wrong with them at once."""
