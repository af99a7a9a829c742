"""Backdrops under the sky: one painter a family of looks, each filling the whole canvas."""

import numpy as np

from magicapture.world.canvas import Canvas, Linear, Radial, disc, ellipse, mix, ribbon, smooth
from magicapture.world.lens import Colours, Rng, bokeh, fill, lights, out_of_focus
from magicapture.world.looks import Look


def beach(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    sky, sea, sand = colours
    horizon, shore = rng.uniform(0.46, 0.58), rng.uniform(0.68, 0.78)
    fill(canvas, sky, mix(sky, (1, 1, 1), 0.65), b=(0.5, horizon))
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
    out_of_focus(canvas, 0.008)


def autumn(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    fill(canvas, mix(colours[0], colours[2], 0.4), colours[1])
    for x in rng.uniform(0, 1, 4):
        canvas.draw(
            ribbon([(x, -0.1), (x + rng.normal(0, 0.03), 0.5), (x, 1.1)], rng.uniform(0.04, 0.09), (1, 1)),
            colours[1] * 0.6,
            0.7,
            blur=0.012,
        )
    bokeh(canvas, rng, (colours[2], colours[0], mix(colours[0], (0.8, 0.15, 0.1), 0.5)), 20, 0.03, 0.10, 0.6, 0, 0.8)
    out_of_focus(canvas, 0.013)
    for _ in range(16):
        c, a, s = rng.uniform(0, 1, 2), rng.uniform(0, 6.3), rng.uniform(0.035, 0.06)
        leaf = (
            np.array([(-1, 0), (-0.4, 0.5), (0.5, 0.45), (1.2, 0), (0.5, -0.45), (-0.4, -0.5)])
            * s
            @ np.array([(np.cos(a), np.sin(a)), (-np.sin(a), np.cos(a))])
            + c
        )
        canvas.draw(smooth(leaf, 3), ((0.90, 0.22, 0.08), (1.0, 0.62, 0.10), (1.0, 0.82, 0.22))[rng.integers(3)], 0.95)


def winter(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    fill(canvas, colours[1], colours[2], b=(0.5, 0.75))
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
    out_of_focus(canvas, 0.013)
    bokeh(canvas, rng, ((1, 1, 1),), 30, 0.008, 0.022, 0.95)


def sunset(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    orange, purple, gold = colours
    fill(canvas, purple, orange, b=(0.5, 0.52))
    x, horizon = (0.24 if look.light < 0 else 0.76), rng.uniform(0.52, 0.62)
    canvas.paint(canvas.all, gold, 0.85, fade=Radial((x, horizon - 0.1), 0.5, power=0.6))
    canvas.draw(ellipse(x, horizon - 0.1, 0.105), (1, 0.94, 0.68), to=gold, along=Linear((x, horizon - 0.2), (x, horizon)))
    for _ in range(5):
        cx, cy = rng.uniform(0, 1), rng.uniform(0.08, 0.36)
        canvas.draw(ribbon([(cx - 0.22, cy), (cx, cy - 0.015), (cx + 0.2, cy)], 0.035), mix(purple, orange, rng.random()), 0.7, blur=0.008)
    for k in range(2):
        line = smooth([(a, horizon + 0.12 * k + rng.normal(0, 0.03)) for a in np.linspace(-0.15, 1.15, 6)], 5, closed=False)
        canvas.draw(np.concatenate([line, [(1.2, 1.2), (-0.2, 1.2)]]), mix(purple * 0.62, orange, 0.18 - 0.15 * k))
    out_of_focus(canvas, 0.013)


def garden(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    """Sunny leaves, a white fence and flowers before it."""
    fill(canvas, mix(colours[0], (0.92, 1.0, 0.70), 0.6), colours[1])
    greens = (colours[0], colours[1], mix(colours[0], (0.8, 0.9, 0.3), 0.5))
    bokeh(canvas, rng, greens, 16, 0.05, 0.14, 0.65)
    out_of_focus(canvas, 0.02)
    lights(canvas, rng, (np.array((1.0, 1.0, 0.70)), np.array((0.85, 1.0, 0.55))), 8, 0.05, 0.0, 0.45)
    shift = rng.uniform(0, 0.11)
    for y in (0.62, 0.80):
        canvas.draw(np.array([(-0.1, y), (1.1, y), (1.1, y + 0.035), (-0.1, y + 0.035)]), (0.86, 0.90, 0.86))
    lefts = shift + 0.112 * np.arange(-1, 10)
    pickets = [np.array([(x, 1.1), (x, 0.54), (x + 0.034, 0.49), (x + 0.068, 0.54), (x + 0.068, 1.1)]) for x in lefts]
    canvas.draw(pickets, (1, 1, 0.98), to=(0.80, 0.86, 0.84), along=Linear((0, 0.5), (0, 1)))
    flowers = [((k + rng.uniform(0.1, 0.9)) / 13, rng.uniform(0.60, 1.0), rng.uniform(0.034, 0.055)) for k in range(13)]
    leaves = [disc((x + d * r, y + 1.3 * r), 1.3 * r, 0.5 * r, 0.9 * d, 12) for x, y, r in flowers for d in (-1, 1)]
    canvas.draw(leaves, colours[1] * 1.1)
    for x, y, r in flowers:
        petals = mix(colours[2], ((1, 1, 1), (1, 0.85, 0.2), (0.6, 0.35, 0.9))[rng.integers(3)], rng.choice([0.0, 0.4, 0.9]))
        canvas.draw([ellipse(x + r * np.cos(a), y + r * np.sin(a), 0.65 * r, count=10) for a in np.linspace(0, 5.03, 5)], petals)
    canvas.draw([ellipse(x, y, 0.5 * r, count=10) for x, y, r in flowers], (1, 0.80, 0.2))


def night(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    fill(canvas, colours[1], colours[0])
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
    out_of_focus(canvas, 0.013)
    far = (colours[2], np.array((1.0, 0.62, 0.25)), np.array((0.95, 0.35, 0.35)), np.array((0.45, 0.85, 0.95)))
    lights(canvas, rng, far, 15, 0.05, 0.5, 1.0)
