# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol's messages read and written in place: tensors are views, and never objects of protobuf.

Knows nothing of the gateway; imports protobuf, numpy and the messages that tritonclient carries.
"""
