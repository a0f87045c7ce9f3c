# SPDX-License-Identifier: Apache-2.0
"""Rivals' alphas for `edges.py`, in an interpreter of their own: rembg, rembg with alpha matting, pymatting alone.

Run by edges.py with the Python of an environment that has `rembg[cpu]` and `pymatting`:
python edges_rivals.py FOLDER, where FOLDER has photo-N.png and model-N.png (the model's alpha at the photo's size).
Writes rembg-N.png, rembg_matting-N.png, pymatting-N.png and, of each, the seconds of processor time to times.json.
"""

import json
import pathlib
import sys
import time
import warnings

import numpy as np
from PIL import Image

# What rembg's own program takes where nothing is said.
_SUBJECT, _BACKGROUND, _ERODE_PX = 240, 10, 10


def main(folder: pathlib.Path) -> None:
    warnings.simplefilter("ignore")
    from pymatting import estimate_alpha_cf  # noqa: PLC0415 - compiles for a while when it is imported
    from rembg import new_session, remove  # noqa: PLC0415 - as above

    session = new_session("u2net")
    times: dict[str, float] = {}
    for path in sorted(folder.glob("photo-*.png")):
        number = path.stem.removeprefix("photo-")
        photo = Image.open(path).convert("RGB")

        def record(name: str, alpha: np.ndarray, since_s: float, number: str = number) -> None:
            times[f"{name}-{number}"] = time.process_time() - since_s
            Image.fromarray(alpha).save(folder / f"{name}-{number}.png", compress_level=1)

        since_s = time.process_time()
        record("rembg", np.asarray(remove(photo, session=session, only_mask=True).convert("L")), since_s)
        since_s = time.process_time()
        refined = remove(photo, session=session, alpha_matting=True)
        record("rembg_matting", np.asarray(refined)[..., 3], since_s)
        model = np.asarray(Image.open(folder / f"model-{number}.png"))
        trimap = np.where(model > _SUBJECT, 1.0, np.where(model < _BACKGROUND, 0.0, 0.5))
        since_s = time.process_time()
        alpha = estimate_alpha_cf(np.asarray(photo) / 255.0, trimap)
        record("pymatting", np.rint(alpha.clip(0, 1) * 255).astype(np.uint8), since_s)
        print(number, file=sys.stderr, flush=True)
    (folder / "times.json").write_text(json.dumps(times))


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
