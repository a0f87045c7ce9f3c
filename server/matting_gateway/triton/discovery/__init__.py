# SPDX-License-Identifier: Apache-2.0
"""What a Triton says of itself and of its models, read and checked."""
