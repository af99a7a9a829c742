"""The scenery behind a person, one painter a family of looks; positions are in picture units, so any size shows the same."""

import cv2
import numpy as np

from magicapture.world.canvas import Canvas, Linear, Points, Radial, disc, ellipse, mix, ribbon, smooth
from magicapture.world.looks import Look

Rng = np.random.Generator
Colours = tuple[np.ndarray, ...]


def paint_backdrop(canvas: Canvas, look: Look) -> None:
    """Fills the whole canvas; leaves the classes at background."""
    rng = np.random.default_rng([look.seed, 13])
    _PAINTERS[look.backdrop](canvas, tuple(np.asarray(c) for c in look.colours), rng, look)
    if look.backdrop != "comic":
        # depth of field: a portrait lens, and small models spend nothing on sharp scenery
        _out_of_focus(canvas, 0.013)


def _fill(canvas: Canvas, top: Points, bottom: Points, a: Points = (0.5, 0.0), b: Points = (0.5, 1.0)) -> None:
    canvas.paint(canvas.all, top, to=bottom, along=Linear(a, b))


def _out_of_focus(canvas: Canvas, sigma: float) -> None:
    """Blurs what is there at a quarter of the resolution: depth of field for little time."""
    small = cv2.resize(cv2.merge(list(canvas.rgb)), (48, 48), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * 48)
    canvas.rgb[:] = np.moveaxis(cv2.resize(small, (canvas.n, canvas.n), interpolation=cv2.INTER_CUBIC), 2, 0)


def _bokeh(
    canvas: Canvas, rng: Rng, colours: tuple, count: int, low: float, high: float, opacity: float, top: float = 0.0, bottom: float = 1.0
) -> None:
    for _ in range(count):
        x, y, r = rng.uniform(0, 1), rng.uniform(top, bottom), rng.uniform(low, high)
        colour = colours[rng.integers(len(colours))]
        canvas.draw(ellipse(x, y, r), colour, opacity * rng.uniform(0.4, 1), blur=0.006)


def _passport(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, colours[2], colours[1])
    canvas.paint(canvas.all, colours[1] * 0.92, 0.55, fade=Linear((0.5 + 0.5 * look.light, 0.5), (0.5 - 0.5 * look.light, 0.2)))


def _studio(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    x, y = rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.5)
    canvas.paint(canvas.all, mix(colours[0], colours[2], 0.5), to=colours[1], along=Radial((x, y), rng.uniform(0.65, 0.85), power=0.7))
    for _ in range(5):
        c = rng.uniform(0, 1, 2)
        canvas.draw(disc(c, rng.uniform(0.1, 0.25), rng.uniform(0.06, 0.15), rng.uniform(0, 3)), colours[2], 0.10, blur=0.06)


def _noir(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, colours[0] * 0.55, colours[1])
    if rng.random() < 0.6:
        # the light of a window through blinds
        slope, x = rng.uniform(-0.25, 0.25), 0.7 if look.light < 0 else 0.3
        for k in range(9):
            y = 0.02 + 0.105 * k
            bar = np.array(
                [
                    (x - 0.38, y - slope * 0.38),
                    (x + 0.38, y + slope * 0.38),
                    (x + 0.38, y + 0.055 + slope * 0.38),
                    (x - 0.38, y + 0.055 - slope * 0.38),
                ]
            )
            canvas.draw(bar, colours[2], 0.42, blur=0.008, fade=Radial((x, 0.3), 0.62))
    else:
        canvas.paint(canvas.all, colours[2], 0.5, fade=Radial((0.5 + 0.25 * np.sign(look.light), 0.35), 0.5, power=0.6))


def _sepia(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    canvas.paint(canvas.all, colours[2], to=colours[1], along=Radial((0.5, 0.38), 0.85))
    for _ in range(7):
        c = rng.uniform(0, 1, 2)
        canvas.draw(disc(c, rng.uniform(0.08, 0.3), rng.uniform(0.05, 0.2), rng.uniform(0, 3)), colours[rng.integers(3)], 0.2, blur=0.05)
    for side in (0.02, 0.98) if rng.random() < 0.5 else ():
        fold = np.array([(side - 0.08, -0.1), (side + 0.08, -0.1), (side + 0.11, 1.1), (side - 0.12, 1.1)])
        canvas.draw(fold, colours[1] * 0.7, 0.6, blur=0.02)


def _beach(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    sky, sea, sand = colours
    horizon, shore = rng.uniform(0.46, 0.58), rng.uniform(0.68, 0.78)
    _fill(canvas, sky, mix(sky, (1, 1, 1), 0.65), b=(0.5, horizon))
    x = 0.16 if look.light < 0 else 0.84
    canvas.draw(ellipse(x, 0.15, 0.2), (1, 0.97, 0.75), 0.45, blur=0.05)
    canvas.draw(ellipse(x, 0.15, 0.075), (1, 0.97, 0.72))
    for _ in range(3):
        cx, cy = rng.uniform(0, 1), rng.uniform(0.1, 0.38)
        puffs = [
            ellipse(cx + d, cy + rng.normal(0, 0.006), rng.uniform(0.03, 0.06), rng.uniform(0.015, 0.03))
            for d in (-0.07, -0.03, 0.02, 0.06)
        ]
        canvas.draw(puffs, (1, 1, 1), 0.75, blur=0.007)
    water = np.array([(-0.1, horizon), (1.1, horizon), (1.1, 1.1), (-0.1, 1.1)])
    canvas.draw(water, mix(sea, (0.05, 0.25, 0.5), 0.25), to=mix(sea, (0.7, 1, 0.95), 0.45), along=Linear((0, horizon), (0, shore)))
    for _ in range(9):
        cx, cy = rng.uniform(0, 1), rng.uniform(horizon + 0.02, shore - 0.02)
        canvas.draw(ribbon([(cx - 0.06, cy), (cx, cy - 0.006), (cx + 0.06, cy)], 0.010), (1, 1, 1), 0.5)
    wave = [
        (-0.1, shore),
        (0.2, shore + rng.uniform(-0.03, 0.03)),
        (0.5, shore + 0.03),
        (0.8, shore + rng.uniform(-0.03, 0.03)),
        (1.1, shore),
    ]
    line = smooth(wave, 6, closed=False)
    canvas.draw(np.concatenate([line - (0, 0.018), [(1.1, 1.2), (-0.1, 1.2)]]), (1, 1, 1), 0.8, blur=0.004)
    canvas.draw(np.concatenate([line, [(1.1, 1.2), (-0.1, 1.2)]]), sand, to=sand * 0.88, along=Linear((0, shore), (0, 1)))
    if rng.random() < 0.5:
        side, root = (1, 0.0) if x > 0.5 else (-1, 1.0)
        canvas.draw(
            ribbon([(root - 0.02 * side, 0.85), (root + 0.05 * side, 0.5), (root + 0.11 * side, 0.2)], 0.035, (1, 0.8)), (0.45, 0.30, 0.18)
        )
        for a in np.linspace(-0.4, 3.3, 6):
            tip = np.array([root + 0.11 * side + 0.22 * np.cos(a), 0.2 - 0.10 * np.sin(a) + 0.06])
            top = np.array([root + 0.11 * side, 0.2])
            canvas.draw(ribbon([top, (top + tip) / 2 - (0, 0.045), tip], 0.04), mix((0.12, 0.45, 0.22), (0.3, 0.65, 0.25), rng.random()))


def _neon(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    one, two, dark = colours
    _fill(canvas, dark * 0.8, dark * 1.2 + (0.04, 0, 0.06))
    canvas.paint(canvas.all, one, 0.42, fade=Radial((0.0, 0.4), 0.75))
    canvas.paint(canvas.all, two, 0.36, fade=Radial((1.0, 0.5), 0.75))
    for _ in range(7):
        x, y, w, h = rng.uniform(0, 1), rng.uniform(0, 0.6), rng.uniform(0.04, 0.1), rng.uniform(0.12, 0.4)
        box = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])
        canvas.draw(box, mix(dark, two, 0.15), 0.6, blur=0.01)
    for _ in range(6):
        x, y = rng.choice([rng.uniform(0.02, 0.3), rng.uniform(0.7, 0.98)]), rng.uniform(0.05, 0.8)
        colour = (one, two, mix(one, two, 0.5), np.array((1.0, 0.75, 0.2)))[rng.integers(4)]
        if rng.random() < 0.5:
            shape = ribbon([(x, y), (x, y + rng.uniform(0.12, 0.3))], 0.025, (1, 1))
        else:
            shape = ribbon([(x - 0.07, y), (x + 0.07, y + rng.uniform(-0.05, 0.05))], 0.025, (1, 1))
        canvas.draw(shape, colour, 0.9, blur=0.03, mode="add")
        canvas.draw(shape, mix(colour, (1, 1, 1), 0.55), 0.95)


def _pastel(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, colours[0], colours[1], (rng.uniform(0, 1), 0), (rng.uniform(0, 1), 1))
    for _ in range(4):
        c, r = rng.uniform(-0.1, 1.1, 2), rng.uniform(0.14, 0.32)
        blob = smooth(
            [(c[0] + r * np.cos(a) * rng.uniform(0.7, 1.2), c[1] + r * np.sin(a) * rng.uniform(0.7, 1.2)) for a in np.linspace(0, 5.5, 7)],
            5,
        )
        canvas.draw(blob, colours[rng.integers(1, 3)], 0.75)


def _autumn(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, mix(colours[0], colours[2], 0.4), colours[1])
    for x in rng.uniform(0, 1, 4):
        canvas.draw(
            ribbon([(x, -0.1), (x + rng.normal(0, 0.03), 0.5), (x, 1.1)], rng.uniform(0.04, 0.09), (1, 1)),
            colours[1] * 0.6,
            0.7,
            blur=0.012,
        )
    _bokeh(canvas, rng, (colours[2], colours[0], mix(colours[0], (0.8, 0.15, 0.1), 0.5)), 20, 0.03, 0.10, 0.6, 0, 0.8)
    for _ in range(9):
        c, a, s = rng.uniform(0, 1, 2), rng.uniform(0, 6.3), rng.uniform(0.025, 0.05)
        leaf = (
            np.array([(-1, 0), (-0.4, 0.5), (0.5, 0.45), (1.2, 0), (0.5, -0.45), (-0.4, -0.5)])
            * s
            @ np.array([(np.cos(a), np.sin(a)), (-np.sin(a), np.cos(a))])
            + c
        )
        canvas.draw(smooth(leaf, 3), mix(colours[rng.integers(3)], (0.85, 0.2, 0.08), 0.35), 0.9)


def _wedding(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, colours[0], colours[1])
    for k in range(6):
        x = 0.08 + 0.17 * k + rng.normal(0, 0.02)
        canvas.draw(ribbon([(x, -0.1), (x + 0.02, 0.5), (x - 0.02, 1.1)], 0.05, (1, 1)), colours[1] * 0.88, 0.6, blur=0.022)
    _bokeh(canvas, rng, ((1, 0.97, 0.86), (1, 1, 1)), 10, 0.02, 0.05, 0.7, 0, 0.7)
    for side in (0.0, 1.0):
        for _ in range(9):
            c = np.array([side + rng.normal(0, 0.07), rng.uniform(0.0, 1.0)])
            r = rng.uniform(0.035, 0.065)
            if rng.random() < 0.4:
                canvas.draw(disc((c + rng.normal(0, 0.05, 2)), 0.06, 0.022, rng.uniform(0, 3)), (0.52, 0.64, 0.46), 0.9)
            canvas.draw(
                [ellipse(c[0] + 0.6 * r * np.cos(a), c[1] + 0.6 * r * np.sin(a), 0.55 * r, count=10) for a in np.linspace(0, 5.03, 5)],
                mix(colours[2], (1, 1, 1), rng.uniform(0, 0.5)),
            )
            canvas.draw(disc(c, 0.5 * r, count=10), mix(colours[2], (0.85, 0.5, 0.55), 0.4), 0.7, blur=0.006)


def _office(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, colours[0], colours[0] * 0.86)
    if rng.random() < 0.5:
        for y in (0.22, 0.50, 0.78):
            x = -0.02
            while x < 1:
                w, h = rng.uniform(0.025, 0.06), rng.uniform(0.12, 0.2)
                tone = mix(colours[rng.integers(1, 3)], rng.uniform(0.2, 0.9, 3), 0.4)
                canvas.draw(np.array([(x, y - h), (x + w, y - h), (x + w, y), (x, y)]), tone, float(rng.random() < 0.85))
                x += w + 0.004
            canvas.draw(np.array([(-0.1, y), (1.1, y), (1.1, y + 0.03), (-0.1, y + 0.03)]), (0.55, 0.42, 0.32))
    else:
        x = rng.uniform(0.02, 0.3)
        for k in range(3):
            pane = np.array([(x + 0.3 * k - 0.2, 0.04), (x + 0.3 * k + 0.06, 0.04), (x + 0.3 * k + 0.06, 0.62), (x + 0.3 * k - 0.2, 0.62)])
            glass = canvas.draw(pane, (0.80, 0.91, 0.98), to=(0.95, 0.97, 0.98), along=Linear((0, 0), (0, 0.6)))
            for q in rng.uniform(-0.2, 0.06, 3):
                canvas.draw(
                    np.array(
                        [
                            (x + 0.3 * k + q, rng.uniform(0.25, 0.45)),
                            (x + 0.3 * k + q + 0.07, 0.3),
                            (x + 0.3 * k + q + 0.07, 0.7),
                            (x + 0.3 * k + q, 0.7),
                        ]
                    ),
                    colours[1],
                    0.6,
                    clip=glass,
                )
        canvas.draw(np.array([(-0.1, 0.7), (1.1, 0.7), (1.1, 1.1), (-0.1, 1.1)]), colours[2] * 0.8)
    _out_of_focus(canvas, 0.016)


def _winter(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, colours[1], colours[2], b=(0.5, 0.75))
    for layer in range(2):
        y, tone = 0.45 + 0.14 * layer, mix(colours[1], (0.25, 0.36, 0.5), 0.35 + 0.25 * layer)
        for x in np.linspace(-0.05, 1.05, 7) + rng.normal(0, 0.04, 7):
            h, w = rng.uniform(0.2, 0.34), rng.uniform(0.07, 0.11)
            for k in range(3):
                base, half = y + 0.2 - h * 0.25 * k, w * (1 - 0.25 * k)
                tree = np.array([(x - half, base), (x, base - h * 0.5), (x + half, base)])
                canvas.draw(tree, tone, 0.85, to=mix(tone, (1, 1, 1), 0.55), along=Linear((0, base), (0, base - h * 0.5)))
    hill = smooth([(-0.1, 0.74), (0.25, rng.uniform(0.66, 0.74)), (0.6, 0.72), (1.1, rng.uniform(0.66, 0.76))], 5, closed=False)
    canvas.draw(np.concatenate([hill, [(1.1, 1.2), (-0.1, 1.2)]]), (0.97, 0.98, 1), to=colours[0], along=Linear((0, 0.7), (0, 1)))
    _bokeh(canvas, rng, ((1, 1, 1),), 34, 0.006, 0.02, 0.95)


def _sunset(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    orange, purple, gold = colours
    _fill(canvas, purple, orange, b=(0.5, 0.52))
    x, horizon = (0.24 if look.light < 0 else 0.76), rng.uniform(0.52, 0.62)
    canvas.paint(canvas.all, gold, 0.85, fade=Radial((x, horizon - 0.1), 0.5, power=0.6))
    canvas.draw(ellipse(x, horizon - 0.1, 0.105), (1, 0.94, 0.68), to=gold, along=Linear((x, horizon - 0.2), (x, horizon)))
    for _ in range(5):
        cx, cy = rng.uniform(0, 1), rng.uniform(0.08, 0.36)
        canvas.draw(ribbon([(cx - 0.22, cy), (cx, cy - 0.015), (cx + 0.2, cy)], 0.035), mix(purple, orange, rng.random()), 0.7, blur=0.008)
    for k in range(2):
        line = smooth([(a, horizon + 0.12 * k + rng.normal(0, 0.03)) for a in np.linspace(-0.15, 1.15, 6)], 5, closed=False)
        canvas.draw(np.concatenate([line, [(1.2, 1.2), (-0.2, 1.2)]]), mix(purple * 0.62, orange, 0.18 - 0.15 * k))


def _comic(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    one, two, three = colours
    _fill(canvas, one, one)
    c = np.array([rng.uniform(0.35, 0.65), rng.uniform(0.3, 0.5)])
    if rng.random() < 0.6:
        count = 14
        for k in range(count):
            a = 2 * np.pi * (k + 0.3 * rng.random()) / count
            canvas.draw(
                np.array([c, c + 1.6 * np.array([np.cos(a), np.sin(a)]), c + 1.6 * np.array([np.cos(a + 0.22), np.sin(a + 0.22)])]), two
            )
    else:
        canvas.draw(np.array([(-0.1, 1.1), (-0.1, 0.3), (1.1, 0.7), (1.1, 1.1)]), three)
    dots = [
        ellipse((i + 0.5 * (j % 2)) / 14, j / 14, 0.024 * max(0.0, abs(j / 14 - 0.35) * 1.2), count=8) for j in range(15) for i in range(15)
    ]
    canvas.draw(dots, three if rng.random() < 0.5 else (1, 1, 1), 0.75)


def _garden(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, mix(colours[0], (0.85, 0.95, 0.75), 0.5), colours[1])
    greens = (colours[0], colours[1], mix(colours[0], (0.8, 0.9, 0.3), 0.5))
    _bokeh(canvas, rng, greens, 26, 0.05, 0.14, 0.65)
    _bokeh(canvas, rng, ((1, 1, 0.85),), 8, 0.02, 0.045, 0.7, 0, 0.5)
    for _ in range(11):
        x, y, r = rng.uniform(0, 1), rng.uniform(0.35, 1.0), rng.uniform(0.022, 0.042)
        petals = mix(colours[2], ((1, 1, 1), (1, 0.9, 0.4), (0.7, 0.5, 0.9))[rng.integers(3)], rng.uniform(0, 0.8))
        canvas.draw([ellipse(x + r * np.cos(a), y + r * np.sin(a), 0.65 * r, count=10) for a in np.linspace(0, 5.03, 5)], petals, 0.95)
        canvas.draw(ellipse(x, y, 0.5 * r, count=10), (1, 0.82, 0.3))


def _night(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    _fill(canvas, colours[1], colours[0])
    stars = [disc(rng.uniform((0, 0), (1, 0.6)), rng.uniform(0.003, 0.008), count=8) for _ in range(26)]
    canvas.draw(stars, (1, 1, 0.92), 0.9)
    x = 0.18 if look.light < 0 else 0.82
    canvas.draw(ellipse(x, 0.16, 0.15), (0.8, 0.86, 1), 0.35, blur=0.04)
    canvas.draw(ellipse(x, 0.16, 0.075), (0.96, 0.96, 0.88))
    canvas.draw(ellipse(x + 0.022, 0.15, 0.06), mix(colours[1], colours[0], 0.25) + 0.03, 0.95 * float(rng.random() < 0.5))
    left = -0.04
    while left < 1.04:
        w, top = rng.uniform(0.09, 0.16), rng.uniform(0.38, 0.66)
        canvas.draw(np.array([(left, top), (left + w, top), (left + w, 1.1), (left, 1.1)]), colours[1] * rng.uniform(0.55, 0.95))
        lit = [
            (a, b) for a in np.arange(left + 0.018, left + w - 0.02, 0.032) for b in np.arange(top + 0.03, 1, 0.05) if rng.random() < 0.45
        ]
        if lit:
            canvas.draw([np.array([(a, b), (a + 0.016, b), (a + 0.016, b + 0.024), (a, b + 0.024)]) for a, b in lit], colours[2], 0.85)
        left += w + 0.004


def _retro(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    one, two, cream = colours
    _fill(canvas, cream, cream * 0.95)
    if rng.random() < 0.5:
        c = np.array([0.5, rng.uniform(0.45, 0.75)])
        for k, r in enumerate((0.62, 0.52, 0.42, 0.32)):
            canvas.draw(disc(c, r, count=48), (one, mix(one, cream, 0.45), two, mix(two, cream, 0.5))[k])
    else:
        bend = rng.uniform(0.25, 0.35)
        for k in range(5):
            y = 0.1 + 0.12 * k
            canvas.draw(
                ribbon([(-0.2, y + 0.4), (0.25, y + 0.1), (0.6, y + bend), (1.2, y - 0.15)], 0.10, (1, 1)),
                (one, mix(one, (0.9, 0.2, 0.15), 0.5), two, mix(two, cream, 0.5), mix(one, cream, 0.5))[k],
            )


_PAINTERS = {
    "passport": _passport,
    "studio": _studio,
    "noir": _noir,
    "sepia": _sepia,
    "beach": _beach,
    "neon": _neon,
    "pastel": _pastel,
    "autumn": _autumn,
    "wedding": _wedding,
    "office": _office,
    "winter": _winter,
    "sunset": _sunset,
    "comic": _comic,
    "garden": _garden,
    "night": _night,
    "retro": _retro,
}
