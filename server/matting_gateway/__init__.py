# SPDX-License-Identifier: Apache-2.0
"""The matting gateway: photos in over gRPC, batches out to Triton, mattes back, nothing kept."""
