"""Developing: from painted colours to the picture in the look's tones."""

import cv2
import numpy as np

from magicapture.world.canvas import Canvas
from magicapture.world.looks import Look

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def develop(canvas: Canvas, look: Look, exposure: float) -> np.ndarray:
    """The canvas reduced to its size and graded: (size, size, 3) uint8 RGB."""
    g = look.grade
    if g.ink > 0:
        _ink(canvas, g.ink)
    image = canvas.colours()
    luma = image @ _LUMA
    grey = luma[..., None]
    image = grey + (image - grey) * np.float32(g.saturation)
    if g.tint > 0:
        # tints are put on by luminance, which keeps the modelling of the face
        tone = np.asarray(g.shadow, np.float32) * (1 - grey) + np.asarray(g.highlight, np.float32) * grey
        image += (tone * (0.25 + 0.75 * grey) * 1.12 - image) * np.float32(g.tint)
    image *= np.float32(g.brightness * exposure)
    if g.contrast != 1:
        image = (image - 0.45) * np.float32(g.contrast) + np.float32(0.45 + 0.02 * (g.contrast - 1))
    image = np.clip(image, 0, 1)
    # a soft toe lifts what is nearly black: dark faces stay readable in dark looks
    image += np.float32(0.10) * image * (1 - image) ** 2
    if g.lift > 0:
        image = np.float32(g.lift) + image * np.float32(1 - g.lift)
    if g.levels:
        steps = np.float32(g.levels)
        hard = np.floor(image * steps + 0.5) / steps
        image += (hard - image) * np.float32(0.7)
    n = canvas.size
    if g.vignette > 0:
        axis = ((np.arange(n, dtype=np.float32) + 0.5) / n - 0.5) ** 2
        edge = np.clip((axis[None] + axis[:, None]) * 2, 0, 1)[..., None]
        image *= 1 - np.float32(g.vignette) * edge
    if g.grain > 0:
        # grain on a fixed grid, so that every size shows the same
        noise: np.ndarray = np.random.default_rng([look.seed, 14]).standard_normal((64, 64)).astype(np.float32)
        if n != 64:
            noise = cv2.resize(noise, (n, n), interpolation=cv2.INTER_CUBIC)
        image = image + noise[..., None] * np.float32(g.grain)
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)


def _ink(canvas: Canvas, strength: float) -> None:
    """Drawn outlines where one class ends and another begins."""
    labels = canvas.labels
    # the nose and the neck have no hard outline in a drawing
    flat = labels.copy()
    flat[(labels == 10)] = 1
    width = max(3, int(round(0.010 * canvas.n)) | 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    line = cv2.morphologyEx(flat, cv2.MORPH_GRADIENT, kernel)
    alpha = cv2.GaussianBlur(cv2.threshold(line, 0, 255, cv2.THRESH_BINARY)[1], (3, 3), 0).astype(np.float32) * np.float32(
        0.82 * strength / 255
    )
    canvas.rgb *= 1 - alpha
