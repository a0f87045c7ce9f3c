# SPDX-License-Identifier: Apache-2.0
"""A dozen sample photos, from the scikit-image wheel: for `make run`, tests, calibration and verification.

Some have a clear subject and some have none, some are grey, small or dark: what a service meets. They are fetched
and never committed; scikit-image names the source and licence of each.
"""

from pathlib import Path

from matting_models.sources.fetch import Say, Wheel, extract_from_wheel, sha256_of

_WHEEL = Wheel(
    "scikit-image==0.26.0",
    "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
    14,
    platform="manylinux_2_28_x86_64",
    python="3.11",
)

_SHA256_BY_NAME = {
    "astronaut.png": "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    "camera.png": "b0793d2adda0fa6ae899c03989482bff9a42d3d5690fc7e3648f2795d730c23a",
    "chelsea.png": "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    "clock_motion.png": "f029226b28b642e80113d86622e9b215ee067a0966feaf5e60604a1e05733955",
    "coffee.png": "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    "coins.png": "f8d773fc9cfa6f4d8e5942dc34d0a0788fcaed2a4fefbbed0aef5398d7ef4cba",
    "horse.png": "c7fb60789fe394c485f842291ea3b21e50d140f39d6dcb5fb9917cc178225455",
    "hubble_deep_field.jpg": "3a19c5dd8a927a9334bb1229a6d63711b1c0c767fb27e2286e7c84a3e2c2f5f4",
    "moon.png": "78739619d11f7eb9c165bb5d2efd4772cee557812ec847532dbb1d92ef71f577",
    "motorcycle_left.png": "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    "retina.jpg": "38a07f36f27f095e818aea7b96d34202c05176d30253c66733f2e00379e9e0e6",
    "rocket.jpg": "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
}


def ensure_samples(cache: Path, say: Say) -> list[Path]:
    """The sample photos' paths, fetched if one is missing or is not the file that was pinned.

    Raises:
        DownloadError, HashMismatchError: see `extract_from_wheel`.
    """
    paths = {name: cache / "samples" / name for name in _SHA256_BY_NAME}
    missing = {
        f"skimage/data/{name}": (path, _SHA256_BY_NAME[name])
        for name, path in paths.items()
        if not path.is_file() or sha256_of(path) != _SHA256_BY_NAME[name]
    }
    if missing:
        extract_from_wheel(_WHEEL, missing, say)
    return list(paths.values())
