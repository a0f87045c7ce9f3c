# SPDX-License-Identifier: Apache-2.0
"""The server's side, with the handlers, contexts and interceptors of `grpc.aio`.

May import `http2` and `bodies`.
"""
