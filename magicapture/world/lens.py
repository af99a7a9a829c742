"""What lies out of focus: soft scenery and the discs of far lights, in picture units."""

import cv2
import numpy as np

from magicapture.world.canvas import Canvas, Linear, Points, ellipse, mix

Rng = np.random.Generator
Colours = tuple[np.ndarray, ...]


def fill(canvas: Canvas, top: Points, bottom: Points, a: Points = (0.5, 0.0), b: Points = (0.5, 1.0)) -> None:
    canvas.paint(canvas.all, top, to=bottom, along=Linear(a, b))


def out_of_focus(canvas: Canvas, sigma: float) -> None:
    """Blurs what is there at a quarter of the resolution: depth of field for little time."""
    small = cv2.resize(cv2.merge(list(canvas.rgb)), (48, 48), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma * 48)
    canvas.rgb[:] = np.moveaxis(cv2.resize(small, (canvas.n, canvas.n), interpolation=cv2.INTER_CUBIC), 2, 0)


def bokeh(
    canvas: Canvas, rng: Rng, colours: tuple, count: int, low: float, high: float, opacity: float, top: float = 0.0, bottom: float = 1.0
) -> None:
    for _ in range(count):
        x, y, r = rng.uniform(0, 1), rng.uniform(top, bottom), rng.uniform(low, high)
        colour = colours[rng.integers(len(colours))]
        canvas.draw(ellipse(x, y, r), colour, opacity * rng.uniform(0.4, 1), blur=0.006)


def lights(canvas: Canvas, rng: Rng, colours: tuple, count: int, radius: float, top: float, bottom: float) -> None:
    """Creamy discs of far lamps, bright at their rims, as an open lens draws them; paint them after the blur."""
    for _ in range(count):
        x, y, r = rng.uniform(0, 1), rng.uniform(top, bottom), radius * rng.uniform(0.6, 1.3)
        colour = colours[rng.integers(len(colours))]
        canvas.draw(ellipse(x, y, r), colour, 0.45, blur=0.003)
        canvas.draw([ellipse(x, y, r), ellipse(x, y, 0.8 * r)], mix(colour, (1, 1, 1), 0.4), 0.5, blur=0.004)
