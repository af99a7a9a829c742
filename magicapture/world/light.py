"""The look's light on the person: shade from one side, a rim on the other, and what falls over the face.

Eyes and mouth take only part of it: the probe's dark looks lost exactly what identity is read from.
"""

import cv2
import numpy as np

from magicapture.world.canvas import Canvas, Linear, Mask, Radial, disc, luminance
from magicapture.world.figure import Figure

# how much of a pattern eyes and mouth take, 0..255
_KEPT = np.full(256, 255, np.uint8)
_KEPT[0] = 0
_KEPT[[2, 3, 4, 5, 6]] = 90
_KEPT[[11, 12, 13]] = 130


def shine(canvas: Canvas, f: Figure) -> None:
    """Lights the painted person; the backdrop and the classes stay."""
    _shade_and_rim(canvas, f)
    if f.look.light_pattern != "none":
        person = Mask(0, 0, cv2.LUT(canvas.labels, _KEPT))
        _PATTERNS[f.look.light_pattern](canvas, f, person)


def _shade_and_rim(canvas: Canvas, f: Figure) -> None:
    """A coloured shade from one side and a bright rim on the other.

    Eyes and mouth take only part of the shade: the probe's dark looks lost exactly what identity is read from.
    """
    look, u = f.look, f.head.unit
    n, labels = canvas.n, canvas.labels
    person = cv2.threshold(labels, 0, 255, cv2.THRESH_BINARY)[1]
    side = -1 if f.light > 0 else 1
    centre = f.head((0, 0.2))
    strength = float(np.clip(look.light_strength * (0.55 + 0.45 * abs(f.light)), 0, 0.8))
    shade = person.copy()
    eyes = (labels == 4) | (labels == 5)
    shade[eyes] = 90
    # skin that is dark already keeps more of its light
    strength *= 0.6 + 0.4 * float(np.clip(f.skin.mean() / 0.6, 0, 1))
    canvas.paint(
        Mask(0, 0, shade), look.fill, strength, mode="multiply", fade=Linear(centre + (side * 0.75 * u, 0), centre - (side * 0.55 * u, 0))
    )
    if look.rim_strength > 0:
        step = max(1, int(round(0.016 * n)))
        blurred = cv2.blur(person, (2 * step + 1, 2 * step + 1))
        moved = np.zeros_like(blurred)
        if side < 0:  # the light comes from the right: the rim lies where the person ends towards the right
            moved[:, : n - step] = blurred[:, step:]
        else:
            moved[:, step:] = blurred[:, : n - step]
        rim = cv2.min(cv2.subtract(person, moved), person)
        canvas.paint(Mask(0, 0, rim), look.rim, 0.75 * min(look.rim_strength, 1.0), mode="add", fade=Linear((0.5, 0.55), (0.5, 1.3)))
        if look.rim_strength > 0.8:
            # a second, cooler light from the other side outlines the shaded half
            other = np.zeros_like(blurred)
            if side < 0:
                other[:, step:] = blurred[:, : n - step]
            else:
                other[:, : n - step] = blurred[:, step:]
            rim = cv2.min(cv2.subtract(person, other), person)
            canvas.paint(Mask(0, 0, rim), np.clip(np.asarray(look.fill), 0, 1), 0.5, mode="add")
            canvas.paint(Mask(0, 0, person), look.rim, 0.20, mode="over", fade=Radial(centre - (side * 0.95 * u, 0), 1.0 * u))


def _strength(f: Figure) -> float:
    """Skin that is dark already keeps more of its light."""
    return 0.55 + 0.45 * float(np.clip(luminance(f.skin) / 0.6, 0, 1))


def _blinds(canvas: Canvas, f: Figure, person: Mask) -> None:
    """The shadows of slats; one bright gap lies on the eyes."""
    slope = 0.22 if f.light > 0 else -0.22
    pitch, eyes = 0.145, 0.5 * (f.head((-0.35, 0.05))[1] + f.head((0.35, 0.05))[1])
    slats = []
    for k in range(-4, 6):
        y = eyes + pitch * (k + 0.24)
        slats.append(
            np.array(
                [
                    (-0.1, y - slope * 0.6),
                    (1.1, y + slope * 0.6),
                    (1.1, y + 0.52 * pitch + slope * 0.6),
                    (-0.1, y + 0.52 * pitch - slope * 0.6),
                ]
            )
        )
    canvas.paint(canvas.mask(slats, 0.006, person), np.asarray(f.look.fill) * 0.6, 0.45 * _strength(f), mode="multiply")
    canvas.paint(person, (0.15, 0.15, 0.145), 0.7, mode="add", fade=Radial(f.head((0, 0.05)), 0.9 * f.head.unit, 0.2 * f.head.unit))


def _leaves(canvas: Canvas, f: Figure, person: Mask) -> None:
    """Sun through leaves: shade with round bright spots in it."""
    rng = np.random.default_rng([f.look.seed, 24])
    canvas.paint(person, (0.80, 0.83, 0.76), 0.7 * _strength(f), mode="multiply")
    spots = [
        disc(f.head(rng.uniform((-1.0, -1.1), (1.0, 1.9))), s := rng.uniform(0.025, 0.065), 0.7 * s, rng.uniform(0, 3), 12)
        for _ in range(16)
    ]
    canvas.paint(canvas.mask(spots, 0.010, person), f.skin * 0.16 + (0.07, 0.06, 0.01), 0.9, mode="add")


def _window(canvas: Canvas, f: Figure, person: Mask) -> None:
    """Four panes of a window, slanted over the person."""
    side = 1 if f.light > 0 else -1
    c, u = f.head((0.12 * side, 0.25)), f.head.unit
    panes = [
        c + u * (np.array([(x, y), (x + 0.52, y), (x + 0.52, y + 0.72), (x, y + 0.72)]) @ np.array([(1, -0.22 * side), (0, 1)]))
        for x in (-0.57, 0.05)
        for y in (-0.78, 0.02)
    ]
    canvas.paint(person, (0.62, 0.60, 0.68), 0.5 * _strength(f), mode="multiply")
    canvas.paint(canvas.mask(panes, 0.008, person), f.skin * 0.40 + (0.10, 0.08, 0.03), 0.9, mode="add")


def _lamp(canvas: Canvas, f: Figure, person: Mask) -> None:
    """A warm lamp from below, on the side that the main light leaves dark."""
    side = -1 if f.light > 0 else 1
    reach = Radial(f.head((0.7 * side, 1.0)), 1.6 * f.head.unit)
    canvas.paint(person, (1.0, 0.70, 0.34), 0.85, mode="multiply", fade=reach)
    canvas.paint(person, (0.40, 0.20, 0.02), 0.8, mode="add", fade=reach)


def _leak(canvas: Canvas, f: Figure, person: Mask) -> None:
    """Light that leaked into an old camera, from one edge over person and backdrop."""
    x = 0.0 if f.look.seed % 2 else 1.0
    canvas.paint(canvas.all, (0.85, 0.32, 0.05), 0.9, mode="add", fade=Radial((x, 0.35), 0.34, 0.75))


def _duo(canvas: Canvas, f: Figure, person: Mask) -> None:
    """Two coloured tubes, one a side; the middle of the face keeps its own colours."""
    side = 1 if f.light > 0 else -1
    one, two = np.asarray(f.look.rim), np.array((0.10, 0.75, 1.0))
    for s, colour in ((side, one), (-side, two)):
        # a lit side keeps its modelling: the tube's colour takes the place of the skin's by its brightness
        fade = Linear(f.head((s * 1.0, 0)), f.head((s * 0.05, 0)))
        canvas.paint(person, np.minimum(colour * 0.9 + 0.12, 1), 0.72, mode="multiply", fade=fade)
        canvas.paint(person, colour, 0.30, mode="add", fade=Linear(f.head((s * 0.95, 0)), f.head((s * 0.25, 0))))


_PATTERNS = {"blinds": _blinds, "leaves": _leaves, "window": _window, "lamp": _lamp, "leak": _leak, "duo": _duo}
