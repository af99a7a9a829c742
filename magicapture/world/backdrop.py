"""The scenery behind a person, one painter a family of looks; positions are in picture units, so any size shows the same."""

import numpy as np

from magicapture.world import indoors, outdoors
from magicapture.world.canvas import Canvas
from magicapture.world.looks import Look

_PAINTERS = {
    "passport": indoors.passport,
    "studio": indoors.studio,
    "noir": indoors.noir,
    "sepia": indoors.sepia,
    "beach": outdoors.beach,
    "neon": indoors.neon,
    "pastel": indoors.pastel,
    "autumn": outdoors.autumn,
    "wedding": indoors.wedding,
    "office": indoors.office,
    "winter": outdoors.winter,
    "sunset": outdoors.sunset,
    "comic": indoors.comic,
    "garden": outdoors.garden,
    "night": outdoors.night,
    "retro": indoors.retro,
}


def paint_backdrop(canvas: Canvas, look: Look) -> None:
    """Fills the whole canvas; leaves the classes at background."""
    rng = np.random.default_rng([look.seed, 13])
    _PAINTERS[look.backdrop](canvas, tuple(np.asarray(c) for c in look.colours), rng, look)
