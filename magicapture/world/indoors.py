"""Backdrops of a studio or a room: one painter a family of looks, each filling the whole canvas."""

import numpy as np

from magicapture.world.canvas import Canvas, Linear, Radial, disc, ellipse, mix, ribbon
from magicapture.world.lens import Colours, Rng, fill, lights, out_of_focus
from magicapture.world.looks import Look


def passport(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    """One even tone, and the flash's soft shadow of the head on the wall."""
    fill(canvas, colours[2], colours[0])
    side = 0.07 if look.light < 0 else -0.07
    canvas.draw(disc((0.5 + side, 0.52), 0.31, 0.44), colours[1] * 0.86, 0.75, blur=0.03)


def studio(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    x, y = rng.uniform(0.3, 0.7), rng.uniform(0.25, 0.5)
    canvas.paint(canvas.all, mix(colours[0], colours[2], 0.5), to=colours[1], along=Radial((x, y), rng.uniform(0.65, 0.85), power=0.7))
    for _ in range(5):
        c = rng.uniform(0, 1, 2)
        canvas.draw(disc(c, rng.uniform(0.1, 0.25), rng.uniform(0.06, 0.15), rng.uniform(0, 3)), colours[2], 0.10, blur=0.06)
    out_of_focus(canvas, 0.03)


def noir(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    fill(canvas, colours[0] * 0.55, colours[1])
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
    out_of_focus(canvas, 0.013)


def sepia(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    canvas.paint(canvas.all, colours[2], to=colours[1], along=Radial((0.5, 0.38), 0.85))
    for _ in range(7):
        c = rng.uniform(0, 1, 2)
        canvas.draw(disc(c, rng.uniform(0.08, 0.3), rng.uniform(0.05, 0.2), rng.uniform(0, 3)), colours[rng.integers(3)], 0.2, blur=0.05)
    for side in (0.02, 0.98) if rng.random() < 0.5 else ():
        fold = np.array([(side - 0.08, -0.1), (side + 0.08, -0.1), (side + 0.11, 1.1), (side - 0.12, 1.1)])
        canvas.draw(fold, colours[1] * 0.7, 0.6, blur=0.02)
    out_of_focus(canvas, 0.02)


def neon(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    one, two, dark = colours
    fill(canvas, dark * 0.8, dark * 1.2 + (0.04, 0, 0.06))
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
    out_of_focus(canvas, 0.01)


def pastel(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    """Balls of sugar colours."""
    fill(canvas, mix(colours[0], (1, 1, 1), 0.35), mix(colours[1], (1, 1, 1), 0.25), (rng.uniform(0, 1), 0), (rng.uniform(0, 1), 1))
    sugar = (*colours, np.array((1.0, 0.92, 0.66)), np.array((0.82, 0.72, 0.98)))
    out_of_focus(canvas, 0.013)
    for k in range(9):
        # a ring of places keeps the balls beside the head
        a = 2 * np.pi * (k + rng.uniform(-0.3, 0.3)) / 9
        x, y, r = 0.5 + 0.46 * np.cos(a), 0.42 + 0.44 * np.sin(a), rng.uniform(0.08, 0.15)
        tone = sugar[(k + int(10 * abs(look.light))) % 5]
        canvas.draw(ellipse(x, y, r), mix(tone, (1, 1, 1), 0.25), to=tone * 0.95, along=Linear((x, y - r), (x, y + r)))
        canvas.draw(ellipse(x - 0.35 * r, y - 0.4 * r, 0.28 * r, 0.18 * r, -0.6, 10), (1, 1, 1), 0.75, blur=0.004)


def wedding(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    """White drapes and an arch of roses, with fairy lights."""
    fill(canvas, mix(colours[0], (1, 1, 1), 0.4), colours[0])
    for k in range(6):
        x = 0.08 + 0.17 * k + rng.normal(0, 0.02)
        canvas.draw(ribbon([(x, -0.1), (x + 0.02, 0.5), (x - 0.02, 1.1)], 0.05, (1, 1)), colours[1] * 0.95, 0.6, blur=0.022)
    out_of_focus(canvas, 0.02)
    lights(canvas, rng, (np.array((1.0, 0.90, 0.62)), np.array((1.0, 0.97, 0.85))), 9, 0.05, 0.1, 0.75)
    for t in np.linspace(0, 1, 17):
        # up the left side, over the top, down the right
        c = np.array((0.5 - 0.53 * np.cos(np.pi * t), 1.0 - 1.0 * np.sin(np.pi * t) ** 0.55)) + rng.normal(0, 0.025, 2)
        canvas.draw([disc(c + rng.normal(0, 0.06, 2), 0.075, 0.028, rng.uniform(0, 3)) for _ in range(3)], (0.40, 0.56, 0.36), 0.95)
    for t in np.linspace(0, 1, 19):
        c = np.array((0.5 - 0.52 * np.cos(np.pi * t), 1.0 - 0.98 * np.sin(np.pi * t) ** 0.55)) + rng.normal(0, 0.02, 2)
        r, tone = rng.uniform(0.045, 0.075), mix(colours[2], (1, 1, 1), rng.choice([0.15, 0.5, 0.9]))
        canvas.draw([disc(c + 0.55 * r * np.array((np.cos(a), np.sin(a))), 0.6 * r, count=10) for a in np.linspace(0, 5.03, 5)], tone)
        canvas.draw(disc(c, 0.55 * r, count=10), mix(tone, (0.8, 0.35, 0.45), 0.4))
        canvas.draw(disc(c, 0.25 * r, count=8), mix(tone, (0.7, 0.2, 0.32), 0.6))


def office(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    """A ceiling of light panels, a window with blinds on one side, a shelf of binders on the other."""
    fill(canvas, colours[0], colours[0] * 0.84)
    panel = np.array([(0.0, -0.02), (0.2, -0.02), (0.24, 0.07), (0.08, 0.07)])
    canvas.draw(np.array([(-0.1, -0.1), (1.1, -0.1), (1.1, 0.09), (-0.1, 0.09)]), colours[0] * 0.72)
    canvas.draw([panel + (dx, 0.0) for dx in (0.02, 0.36, 0.7)], (1, 1, 1))
    flip = rng.random() < 0.5

    def box(x: float, y: float, w: float, h: float) -> np.ndarray:
        x = 1 - x - w if flip else x
        return np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h)])

    # the window
    canvas.draw(box(-0.05, 0.15, 0.42, 0.56), colours[2])
    canvas.draw(box(-0.05, 0.17, 0.40, 0.52), (0.70, 0.86, 0.98), to=(0.93, 0.98, 1.0), along=Linear((0, 0.17), (0, 0.7)))
    for x, top in ((0.02, 0.45), (0.13, 0.36), (0.23, 0.50)):
        canvas.draw(box(x, top + rng.uniform(-0.05, 0.05), 0.09, 0.69 - top), colours[1], 0.55)
    canvas.draw([box(-0.05, 0.17 + 0.052 * k, 0.40, 0.026) for k in range(6)], (0.97, 0.98, 0.98), 0.95)
    canvas.draw(box(-0.05, 0.69, 0.46, 0.035), (0.95, 0.96, 0.96))
    # the shelf
    canvas.draw(box(0.66, 0.15, 0.4, 0.95), colours[2])
    for row, y in enumerate((0.19, 0.45, 0.71)):
        canvas.draw(box(0.68, y, 0.4, 0.22), colours[2] * 0.6)
        tone = (colours[1], np.array((0.80, 0.22, 0.20)), np.array((0.95, 0.95, 0.93)))
        for k in range(5):
            binder = tone[(row + k // 2 + int(rng.integers(2))) % 3]
            canvas.draw(box(0.69 + 0.062 * k, y + 0.02, 0.055, 0.20), binder)
            canvas.draw(box(0.70 + 0.062 * k, y + 0.06, 0.035, 0.06), (1, 1, 1) if binder[0] < 0.9 else (0.5, 0.55, 0.6))
    out_of_focus(canvas, 0.004)


def comic(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    one, two, three = colours
    fill(canvas, one, one)
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


def retro(canvas: Canvas, colours: Colours, rng: Rng, look: Look) -> None:
    """A wall of the seventies: sharp bands of orange, brown, cream and teal."""
    one, two, cream = colours
    brown, red = mix(one, (0.28, 0.12, 0.06), 0.78), mix(one, (0.78, 0.14, 0.08), 0.65)
    fill(canvas, cream, cream * 0.95)
    if rng.random() < 0.5:
        c = np.array([0.5, rng.uniform(0.55, 0.75)])
        for k, r in enumerate((0.80, 0.69, 0.58, 0.47, 0.36)):
            canvas.draw(disc(c, r, count=48), (brown, red, one, cream, two)[k])
    else:
        bend = rng.uniform(0.25, 0.35)
        for k in range(5):
            y = 0.1 + 0.115 * k
            canvas.draw(
                ribbon([(-0.2, y + 0.45), (0.25, y + 0.15), (0.6, y + bend - 0.15), (1.2, y - 0.3)], 0.118, (1, 1), 8),
                (two, brown, red, one, mix(one, cream, 0.55))[k],
            )
