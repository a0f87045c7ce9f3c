# SPDX-License-Identifier: Apache-2.0
"""What each of `models ...` does.

May import all other rooms of this package.
"""
