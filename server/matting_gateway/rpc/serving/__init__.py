# SPDX-License-Identifier: Apache-2.0
"""The listening side as one: ports, TLS, health, reflection, load reports.

May import all other rooms of `rpc`.
"""
