"""What is printed or woven on a garment; large enough to be told apart at 64 px."""

import numpy as np

from magicapture.world.canvas import Canvas, Mask, Points, disc, luminance, mix, ribbon
from magicapture.world.figure import Figure


def paint_pattern(canvas: Canvas, f: Figure, body: Mask | None, base: Points) -> None:
    """The look's pattern on the garment `body`, whose colour is `base`."""
    if body is None or f.look.pattern == "plain":
        return
    ink = np.asarray(f.look.accent)
    if abs(luminance(ink) - luminance(base)) < 0.18:
        ink = np.array([0.95, 0.94, 0.92]) if luminance(base) < 0.5 else np.array([0.16, 0.17, 0.24])
    _PAINTERS[f.look.pattern](canvas, f, body, ink)


def _hoops(f: Figure, pitch: float, width: float) -> list[np.ndarray]:
    """Bands round the body, bent by its roundness."""
    b = f.body
    ways = [np.array([(-1.6, y + 0.20), (-0.8, y + 0.04), (0, y), (0.8, y + 0.04), (1.6, y + 0.20)]) for y in np.arange(1.3, 3.2, pitch)]
    return [ribbon(b(way), width * b.unit, (1, 1)) for way in ways]


def _striped(canvas: Canvas, f: Figure, body: Mask, ink: np.ndarray) -> None:
    for hoop in _hoops(f, 0.24, 0.105):
        canvas.draw(hoop, ink, 0.85, clip=body)


def _dotted(canvas: Canvas, f: Figure, body: Mask, ink: np.ndarray) -> None:
    spots = [(x * 0.24 + 0.12 * (k % 2), 1.25 + 0.2 * k) for k in range(10) for x in range(-6, 7)]
    canvas.draw([disc(f.body(q), 0.052 * f.body.unit, count=10) for q in spots], ink, 0.85, clip=body)


def _plaid(canvas: Canvas, f: Figure, body: Mask, ink: np.ndarray) -> None:
    b, u = f.body, f.body.unit
    across = _hoops(f, 0.34, 0.15)
    down = [ribbon(b(np.array([(x, 0.9), (x * 1.06, 1.8), (x * 1.02, 3.3)])), 0.15 * u, (1, 1)) for x in np.arange(-1.19, 1.3, 0.34)]
    # each way is laid over the other by half, so that crossings are darkest, as threads weave
    for bands in (across, down):
        for band in bands:
            canvas.draw(band, ink, 0.5, clip=body)
    thread = mix(ink, (1, 1, 1), 0.6) if luminance(ink) > 0.4 else mix(ink, (1, 0.9, 0.6), 0.75)
    fine = [ribbon(b(np.array([(x, 0.9), (x * 1.06, 1.8), (x * 1.02, 3.3)])), 0.03 * u, (1, 1)) for x in np.arange(-1.02, 1.2, 0.34)]
    canvas.draw(fine, thread, 0.6, clip=body)


def _floral(canvas: Canvas, f: Figure, body: Mask, ink: np.ndarray) -> None:
    b, u = f.body, f.body.unit
    places = [np.array((x * 0.44 + 0.22 * (k % 2), 1.28 + 0.33 * k)) for k in range(7) for x in range(-3, 4)]
    places = [q for q in places if b(q)[1] < 1.05]
    turns = [1.7 * i for i in range(len(places))]
    leaves = [
        disc(b(q + 0.16 * np.array((np.cos(a + 0.6), np.sin(a + 0.6)))), 0.085 * u, 0.04 * u, a + 0.6, 10) for q, a in zip(places, turns)
    ]
    canvas.draw(leaves, (0.25, 0.50, 0.25), 0.95, clip=body)
    petals = [
        disc(b(q + 0.075 * np.array((np.cos(a + t), np.sin(a + t)))), 0.062 * u, count=8)
        for q, a in zip(places, turns)
        for t in np.linspace(0, 5.03, 5)
    ]
    canvas.draw(petals, ink, 0.95, clip=body)
    canvas.draw(
        [disc(b(q), 0.045 * u, count=8) for q in places], (0.98, 0.80, 0.25) if luminance(ink) < 0.75 else (0.85, 0.35, 0.25), clip=body
    )


_PAINTERS = {"striped": _striped, "dotted": _dotted, "plaid": _plaid, "floral": _floral}
