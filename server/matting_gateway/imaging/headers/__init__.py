# SPDX-License-Identifier: Apache-2.0
"""Headers of image files, read in plain Python before any native decoder sees a byte."""
