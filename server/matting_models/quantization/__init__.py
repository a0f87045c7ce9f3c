# SPDX-License-Identifier: Apache-2.0
"""Int8 forms, and the pictures that they are calibrated with.

May import `graph` and `trials`.
"""
