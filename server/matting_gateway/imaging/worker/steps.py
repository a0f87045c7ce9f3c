# SPDX-License-Identifier: Apache-2.0
"""The two steps of a call that a worker does: files to the model's input, and the model's answer to results."""

from collections.abc import Sequence

import numpy as np

from matting_gateway.imaging.photo_job import Kept, PhotoJob, Picture, RawPlan
from matting_gateway.imaging.worker.call_room import CallRoom, SharedCanvas
from matting_gateway.imaging.worker.canvas import PrivateCanvas
from matting_gateway.imaging.worker.prepare import Prepared, prepare_file, prepare_pixels
from matting_gateway.imaging.worker.render import Renderer


def decode(job: PhotoJob, room: CallRoom) -> dict[str, object]:
    """Decode all pictures of a call, and make the model's input. Returns what is kept of each, as JSON takes it."""
    kept = []
    for picture in job.pictures:
        room.check_wanted()
        flags = _decode(picture, room)
        kept.append([flags.deep, flags.alpha])
    return {"kept": kept}


def render(job: PhotoJob, room: CallRoom, kept: Sequence[Kept]) -> dict[str, object]:
    """Make all results of a call. Returns where each lies, and where the subject is, as JSON takes it."""
    photo, *backgrounds = (
        Prepared(None, *room.kept(picture, flags)) for picture, flags in zip(job.pictures, kept, strict=True)
    )
    renderer = Renderer(
        photo,
        job.placement,
        job.width_px,
        job.height_px,
        room.matte(),
        exact=job.exact,
        default_quality=job.default_quality,
        check_wanted=room.check_wanted,
    )
    behind = dict(zip(job.backgrounds, backgrounds, strict=True))
    results = []
    for index, output in enumerate(job.outputs):
        room.check_wanted()
        rendered = renderer.render(output, behind.get(index), f"outputs[{index}]")
        if index == len(job.outputs) - 1:
            renderer.let_go()
        span = room.add_result(rendered.data)
        place = [span.offset, span.byte_count, rendered.width_px, rendered.height_px]
        results.append([rendered.refinement.value, *place])
    subject = renderer.subject()
    room.let_go_inputs()
    box = subject.box
    return {
        "results": results,
        "box": None if box is None else [box.left_px, box.top_px, box.width_px, box.height_px],
        "area_share": float(subject.area_share),
    }


def _decode(picture: Picture, room: CallRoom) -> Kept:
    plan = picture.plan
    if isinstance(plan, RawPlan):
        prepared = prepare_pixels(room.raw(picture, plan), plan.placement, 1, False, plan.exact)
    else:
        canvas = SharedCanvas(room, picture) if plan.keep_color else PrivateCanvas()
        prepared = prepare_file(room.content(picture), plan, canvas)
    if prepared.model_pixels is not None:
        np.copyto(room.model_input(), prepared.model_pixels, casting="no")
    if isinstance(plan, RawPlan):
        return Kept(deep=False, alpha=False)
    color, alpha = prepared.color, prepared.alpha
    some = color if color is not None else alpha
    for source, make in ((color, room.color), (alpha, room.alpha)):
        if source is None:
            continue
        place = make(picture, source.shape[0], source.shape[1], source.dtype)
        if not np.may_share_memory(source, place):
            np.copyto(place, source, casting="no")
    return Kept(deep=some is not None and some.dtype == np.uint16, alpha=alpha is not None)
