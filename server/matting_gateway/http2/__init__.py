# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 as gRPC needs it, both sides: frames, header blocks, windows, streams. Knows nothing of gRPC."""
