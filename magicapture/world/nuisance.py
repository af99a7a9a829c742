"""What changes from one picture of a person in a look to the next: pose, expression, gaze, small changes of light, compression."""

from dataclasses import dataclass

import numpy as np

EXPRESSIONS = ("neutral", "smiling", "laughing", "sad", "surprised", "angry")


@dataclass(frozen=True)
class Nuisance:
    """`yaw` -1..1 (positive: towards the picture's right), `tilt` in degrees, `scale` about 1, `dx`, `dy` in picture widths,
    `gaze` (-1..1, -1..1) right and down, `light` -1..1 turns the light, `exposure` about 1, `jpeg` quality 1..100 or None."""

    yaw: float = 0.0
    tilt: float = 0.0
    scale: float = 1.0
    dx: float = 0.0
    dy: float = 0.0
    expression: str = "neutral"
    gaze: tuple[float, float] = (0.0, 0.0)
    light: float = 0.0
    exposure: float = 1.0
    jpeg: int | None = None

    @staticmethod
    def sample(seed: int, strength: float = 1.0) -> "Nuisance":
        """A draw; `strength` scales everything but the expression (0: upright, centred, frontal)."""
        rng = np.random.default_rng([seed, 5])
        normal = rng.standard_normal(9) * strength
        expression = str(rng.choice(EXPRESSIONS, p=[0.3, 0.28, 0.14, 0.1, 0.1, 0.08]))
        jpeg = int(rng.integers(60, 96)) if rng.random() < 0.3 * strength else None
        return Nuisance(
            yaw=float(np.clip(0.4 * normal[0], -1, 1)),
            tilt=float(np.clip(5 * normal[1], -14, 14)),
            scale=float(np.clip(1 + 0.045 * normal[2], 0.88, 1.1)),
            dx=float(np.clip(0.022 * normal[3], -0.06, 0.06)),
            dy=float(np.clip(0.016 * normal[4], -0.035, 0.045)),
            expression=expression,
            gaze=(float(np.clip(0.35 * normal[5], -0.8, 0.8)), float(np.clip(0.18 * normal[6], -0.5, 0.5))),
            light=float(np.clip(0.4 * normal[7], -1, 1)),
            exposure=float(np.clip(1 + 0.05 * normal[8], 0.86, 1.12)),
            jpeg=jpeg,
        )

    @staticmethod
    def frontal() -> "Nuisance":
        """Upright, centred, neutral, looking into the camera."""
        return Nuisance()


@dataclass(frozen=True)
class Expression:
    """How an expression moves the face; `lift` raises the mouth's corners, `gap` opens it (head units)."""

    lift: float = 0.0
    gap: float = 0.0
    wide: float = 1.0
    eyes: float = 1.0
    brow_raise: float = 0.0
    brow_tilt: float = 0.0
    cheeks: float = 0.0
    jaw: float = 0.0


FACES = {
    "neutral": Expression(lift=0.008),
    "smiling": Expression(lift=0.085, wide=1.16, eyes=0.9, cheeks=0.6),
    "laughing": Expression(lift=0.095, gap=0.155, wide=1.22, eyes=0.7, cheeks=1.0, brow_raise=0.02, jaw=0.05),
    "sad": Expression(lift=-0.075, wide=0.9, eyes=0.82, brow_raise=0.015, brow_tilt=-0.3),
    "surprised": Expression(lift=-0.01, gap=0.17, wide=0.68, eyes=1.28, brow_raise=0.09, jaw=0.06),
    "angry": Expression(lift=-0.045, wide=0.94, eyes=0.8, brow_raise=-0.045, brow_tilt=0.34),
}
