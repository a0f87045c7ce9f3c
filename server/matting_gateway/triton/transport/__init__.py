# SPDX-License-Identifier: Apache-2.0
"""The way to one Triton: addresses, TLS, its connections, and batches over them.

May import `discovery` and `shared_memory`.
"""
