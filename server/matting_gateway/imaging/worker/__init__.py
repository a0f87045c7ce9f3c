# SPDX-License-Identifier: Apache-2.0
"""What an imaging worker does: files to pixels, pixels and alpha to results. Runs in its process alone."""
