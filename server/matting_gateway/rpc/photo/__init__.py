# SPDX-License-Identifier: Apache-2.0
"""Photos in, mattes out: matting.v1.MattingService.

May import `boundary` and the pipeline.
"""
