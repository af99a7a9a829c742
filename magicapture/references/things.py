"""Pictures of an object (paper's supplement): the photos are cut out by their own transparency, the looks count whole."""

from __future__ import annotations

import numpy as np

from magicapture.faces.prepared import Picture, SetName
from magicapture.references.decode import Photo
from magicapture.references.errors import SetAside
from magicapture.references.framing import frame_object


def prepare(name: SetName, photo: Photo, resolution: int) -> tuple[Picture, int, str]:
    """A picture of the set ``name`` as it is trained on, the side in px of the square that was cut from it, and a warning or "".

    A photo's mask is where it is at least half opaque, everything without transparency (with a warning); a look's is empty, so that it is
    reconstructed whole. Raises SetAside for a photo without anything opaque, or too little.
    """
    mask = np.ones(photo.image.shape[:2], bool) if photo.alpha is None else photo.alpha > 127
    if not mask.any():
        raise SetAside(
            "is transparent: no part of it is at least half opaque; cut the object out of its background, and nothing else", "no object"
        )
    square = frame_object(mask)
    image = square.cut(photo.image, resolution)
    cut = square.cut(mask.astype(np.uint8) * 255, resolution) > 127
    if not cut.any():
        raise SetAside("shows an object too small to be seen at the training size; crop the picture around it", "no object")
    shown = cut if name == "source" else np.zeros_like(cut)
    picture = Picture(photo.name, image, np.zeros(cut.shape, np.uint8), shown, sha256=photo.sha256)
    whole = name == "source" and photo.alpha is None
    return picture, square.side, "has no transparency: the whole picture counts as the object; cut it out" if whole else ""
