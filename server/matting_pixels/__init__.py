# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of mattes on arrays. Pure; shared by the gateway and the client."""
