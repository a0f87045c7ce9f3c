# SPDX-License-Identifier: Apache-2.0
"""What surrounds every call: who calls, until when, what it may send, and what came of it.

May import `admission`, `telemetry`, `tracing` and the server of `grpc_h2`; knows no service.
"""
