# SPDX-License-Identifier: Apache-2.0
"""Shared memory of callers on the same host (the protocol's system shared memory extension).

Regions are read and written through the file, never mapped: a caller that shortens its segment
then gets an error instead of ending the gateway with SIGBUS. Each tenant has names of its own.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from open_inference.client_messages import Place
from open_inference.tensors import Buffer

from matting_gateway.errors import PermissionDeniedError, TensorInvalidError

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps POSIX shared memory
# Segments in which a Triton or the gateway itself keeps other callers' tensors.
_FORBIDDEN_PREFIXES = ("triton_", "matting")


@dataclass(frozen=True, slots=True)
class Region:
    """A registered region; `offset_bytes` is where it begins in the segment `key`."""

    name: str
    key: str
    offset_bytes: int
    length_bytes: int
    descriptor: int


class ClientMemory:
    """The regions that callers registered.

    Owns the open segments; touched on the event loop only. Invariants: every region's descriptor is
    open until it is unregistered; a region belongs to the tenant that registered it.
    """

    def __init__(self, *, allowed: bool) -> None:
        self.allowed = allowed
        self._regions: dict[tuple[str, str], Region] = {}

    def register(self, tenant: str, name: str, key: str, offset_bytes: int, length_bytes: int) -> None:
        """Open a segment of the caller's.

        Raises:
            PermissionDeniedError: Shared memory is not allowed here, or not that segment.
            TensorInvalidError: The name is taken, or there is no such segment of that size.
        """
        self._check_allowed()
        if (tenant, name) in self._regions:
            raise TensorInvalidError(f"shared memory region '{name}' already in manager")
        bare = key.removeprefix("/")
        if not name or not bare or "/" in bare or "\0" in bare or bare in (".", ".."):
            raise TensorInvalidError(f"Unable to open shared memory region: '{key}'")
        if bare.startswith(_FORBIDDEN_PREFIXES):
            raise PermissionDeniedError(f"Shared memory region '{key}' belongs to the service; use another name.")
        try:
            descriptor = os.open(_SHARED_MEMORY / bare, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as exc:
            raise TensorInvalidError(f"Unable to open shared memory region: '{key}'") from exc
        state = os.fstat(descriptor)
        fits = min(offset_bytes, length_bytes - 1) >= 0 and offset_bytes + length_bytes <= state.st_size
        if not stat.S_ISREG(state.st_mode) or not fits:
            os.close(descriptor)
            raise TensorInvalidError(
                f"failed to register shared memory region '{name}': offset {offset_bytes} and {length_bytes} bytes"
                f" do not lie within the segment of {state.st_size} bytes"
            )
        self._regions[tenant, name] = Region(name, key, offset_bytes, length_bytes, descriptor)

    def unregister(self, tenant: str, name: str) -> None:
        """Close a region, or all of the tenant's where `name` is empty; none by that name is no error, as in Triton."""
        for key in [k for k in self._regions if k[0] == tenant and name in ("", k[1])]:
            os.close(self._regions.pop(key).descriptor)

    def regions(self, tenant: str, name: str = "") -> Iterator[Region]:
        """Return the tenant's regions, or the one of that name.

        Raises:
            TensorInvalidError: There is none of that name.
        """
        if name:
            return iter((self._region(tenant, name, f"Unable to find system shared memory region: '{name}'"),))
        return (region for (owner, _), region in self._regions.items() if owner == tenant)

    def read(self, tenant: str, place: Place) -> bytes:
        """Copy a tensor out of a region.

        Raises:
            PermissionDeniedError: Shared memory is not allowed here.
            TensorInvalidError: There is no such region, or the place is not within it.
        """
        region = self._check(tenant, place)
        data = os.pread(region.descriptor, place.length_bytes, region.offset_bytes + place.offset_bytes)
        if len(data) != place.length_bytes:
            raise TensorInvalidError(f"shared memory region '{place.region}' is shorter than it was when registered")
        return data

    def write(self, tenant: str, place: Place, data: Buffer, output: str) -> None:
        """Copy a tensor into a region.

        Raises:
            TensorInvalidError: The place is too small for it, or the segment was shortened.
        """
        if len(data) > place.length_bytes:
            raise TensorInvalidError(
                f"shared memory size specified with the request for output '{output}' ({place.length_bytes} bytes)"
                f" should be at least {len(data)} bytes to hold the results"
            )
        region = self._check(tenant, place)
        if os.fstat(region.descriptor).st_size < region.offset_bytes + place.offset_bytes + len(data):
            raise TensorInvalidError(f"shared memory region '{place.region}' is shorter than it was when registered")
        os.pwrite(region.descriptor, data, region.offset_bytes + place.offset_bytes)

    def check(self, tenant: str, place: Place) -> None:
        """Check a place before work is done for it; raises as `read` does."""
        self._check(tenant, place)

    def close(self) -> None:
        """Close every region."""
        for region in self._regions.values():
            os.close(region.descriptor)
        self._regions.clear()

    def __repr__(self) -> str:
        return f"<ClientMemory {'allowed' if self.allowed else 'off'}, {len(self._regions)} regions>"

    def _check(self, tenant: str, place: Place) -> Region:
        self._check_allowed()
        region = self._region(tenant, place.region, f"Unable to find shared memory region: '{place.region}'")
        if place.offset_bytes < 0 or place.offset_bytes > region.length_bytes:
            raise TensorInvalidError(f"Invalid offset for shared memory region: '{place.region}'")
        if place.length_bytes < 0 or place.offset_bytes + place.length_bytes > region.length_bytes:
            raise TensorInvalidError(f"Invalid offset + byte size for shared memory region: '{place.region}'")
        return region

    def _region(self, tenant: str, name: str, text: str) -> Region:
        region = self._regions.get((tenant, name))
        if region is None:
            raise TensorInvalidError(text)
        return region

    def _check_allowed(self) -> None:
        if not self.allowed:
            raise PermissionDeniedError(
                "Shared memory of callers is off here; the operator can allow it with --client-shared-memory."
            )
