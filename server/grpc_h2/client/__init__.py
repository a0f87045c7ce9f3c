# SPDX-License-Identifier: Apache-2.0
"""The client's side: unary calls of one method, with the errors of `grpc.aio`.

May import `http2` and `bodies`.
"""
