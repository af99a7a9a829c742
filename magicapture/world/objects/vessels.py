"""Vases and teapots: what tells one from another, in numbers, and the parts they are made of."""

from dataclasses import dataclass

import numpy as np

from magicapture.world.canvas import ellipse, smooth
from magicapture.world.objects.solids import Part, Revolved, Shade, Tube

Rng = np.random.Generator


@dataclass(frozen=True)
class Vase:
    """Lengths in units of the height; `at` are heights."""

    foot: float
    belly: float
    belly_at: float
    neck: float
    neck_at: float
    lip: float
    angular: bool
    flutes: int
    handles: int
    handle_size: float

    @staticmethod
    def sample(rng: Rng) -> "Vase":
        belly = float(rng.choice([rng.uniform(0.17, 0.26), rng.uniform(0.28, 0.4), rng.uniform(0.42, 0.58)]))
        neck = belly * float(rng.choice([rng.uniform(0.22, 0.4), rng.uniform(0.5, 0.95)]))
        return Vase(
            foot=belly * rng.uniform(0.4, 0.95),
            belly=belly,
            belly_at=float(rng.choice([rng.uniform(0.2, 0.35), rng.uniform(0.35, 0.5), rng.uniform(0.55, 0.68)])),
            neck=neck,
            neck_at=rng.uniform(0.76, 0.88),
            lip=float(np.clip(neck * rng.uniform(1.0, 2.0), 0.09, belly * 1.15)),
            angular=bool(rng.random() < 0.25),
            flutes=int(rng.choice([0, 0, 0, 14, 20])),
            handles=int(rng.choice([0, 1, 2], p=[0.5, 0.15, 0.35])),
            handle_size=rng.uniform(0.1, 0.2),
        )

    def profile(self) -> tuple[np.ndarray, np.ndarray]:
        points = [(0.0, self.foot), (self.belly_at, self.belly), (self.neck_at, self.neck), (1.0, self.lip)]
        if self.angular:
            points.insert(1, (0.05, self.foot))
        curve = np.array(points) if self.angular else smooth(points, 8, closed=False)
        heights, radii = np.maximum.accumulate(curve[:, 0]), np.maximum(curve[:, 1], 0.05)
        return heights + np.arange(len(heights)) * 1e-6, radii

    def parts(self) -> list[Part]:
        heights, radii = self.profile()
        parts: list[Part] = []
        high, low = (self.neck_at + 0.07, self.belly_at + 0.12) if self.neck_at - self.belly_at > 0.2 else (0.95, self.belly_at)
        for side in (1, -1)[: self.handles]:
            a, b = float(np.interp(high, heights, radii)), float(np.interp(low, heights, radii))
            out = max(a, b) + self.handle_size
            path = [(a - 0.03, high), (out - 0.02, high + 0.02), (out, (high + low) / 2 + 0.05), (b - 0.02, low)]
            parts.append(Tube(np.array(path) * (side, 1), (0.065, 0.05)))
        parts.append(Revolved(heights, radii, hollow=0.84, flutes=self.flutes))
        return parts

    def words(self) -> tuple[str, list[str]]:
        width = 2 * max(self.belly, self.lip)
        shape = "tall" if width < 0.55 else "wide" if width > 0.85 else "angular" if self.angular else "round"
        details = []
        if self.handles:
            details.append("with a handle" if self.handles == 1 else "with two handles")
        elif self.neck < 0.42 * self.belly:
            details.append("with a narrow neck")
        if self.flutes and len(details) < 2:
            details.append("fluted")
        return shape, details


@dataclass(frozen=True)
class Teapot:
    """Lengths in units of the body's radius."""

    height: float
    square: float  # exponent of the body's superellipse: 2 round, 5 a drum
    lean: float  # above 0: wider below
    spout: str
    reach: float
    tip: float
    handle: str
    handle_size: float
    lid: float
    knob: str
    feet: bool

    @staticmethod
    def sample(rng: Rng) -> "Teapot":
        return Teapot(
            height=float(rng.choice([rng.uniform(0.95, 1.25), rng.uniform(1.35, 1.7), rng.uniform(1.9, 2.5)])),
            square=float(rng.choice([2.0, 2.6, 5.0])),
            lean=float(rng.choice([0.0, rng.uniform(0.25, 0.42), -rng.uniform(0.15, 0.3)])),
            spout=str(rng.choice(("straight", "curved", "short"))),
            reach=rng.uniform(0.55, 0.9),
            tip=rng.uniform(0.75, 1.1),
            handle=str(rng.choice(("round", "angular", "over"), p=(0.45, 0.25, 0.3))),
            handle_size=rng.uniform(0.5, 0.8),
            lid=rng.uniform(0.12, 0.42),
            knob=str(rng.choice(("ball", "cone", "flat"))),
            feet=bool(rng.random() < 0.35),
        )

    def parts(self) -> list[Part]:
        h = self.height
        t = np.linspace(0.06, 0.94, 40)
        radii = (1 - np.abs(2 * t - 1) ** self.square) ** (1 / self.square) * (1 + self.lean * (1 - 2 * t))
        heights = (t - t[0]) / (t[-1] - t[0]) * h

        def at(y: float) -> float:
            return float(np.interp(y * h, heights, radii))

        parts: list[Part] = []
        base = 0.0
        if self.feet:
            base = 0.16
            parts += [
                Revolved(np.array([0.0, 0.2]), np.array([0.08, 0.15]), x * radii[0] * 0.95, dy) for x, dy in ((-1, 0), (0, -0.12), (1, 0))
            ]
        size = self.handle_size
        if self.handle == "over":
            top, width = h * 1.12 + 0.55 + 0.3 * size, 0.85
            arch = [(-at(0.8) * 0.92, h * 0.8), (-width, h + 0.25), (-0.5, top), (0.5, top), (width, h + 0.25), (at(0.8) * 0.92, h * 0.8)]
            handle = Tube(np.array(arch) + (0, base), (0.13, 0.13))
        else:
            far = -max(at(0.75), at(0.5), at(0.28)) - size
            top_y, low_y = h * 0.8, h * 0.28
            if self.handle == "round":
                path = [
                    (-at(0.8) + 0.1, top_y),
                    (far + 0.15, top_y + 0.1),
                    (far, h * 0.58),
                    (far + 0.28, low_y),
                    (-at(0.25) + 0.1, low_y - 0.05),
                ]
                handle = Tube(np.array(path) + (0, base), (0.17, 0.13))
            else:
                corner = [
                    (-at(0.8) + 0.1, top_y),
                    (far + 0.22, top_y + 0.03),
                    (far + 0.04, top_y - 0.03),
                    (far + 0.08, top_y - 0.2),
                    (-at(0.25) + 0.1, low_y - 0.05),
                ]
                handle = Tube(np.array(corner) + (0, base), (0.16, 0.12))
        if self.handle != "over":
            parts.append(handle)
        x, y = at(0.4), h * self.tip
        if self.spout == "straight":
            path = [(x - 0.25, h * 0.35), (x + 0.3, h * 0.35 + (y - h * 0.35) * 0.55), (x + self.reach, y)]
        elif self.spout == "curved":
            r = self.reach
            path = [(x - 0.25, h * 0.3), (x + 0.35 * r, h * 0.32), (x + 0.62 * r, h * 0.62), (x + 0.74 * r, y - 0.06), (x + r, y + 0.04)]
        else:
            path = [(at(0.7) - 0.3, h * 0.6), (at(0.8) + 0.12, h * 0.74), (at(0.8) + 0.36, h * 0.92)]
        parts.append(Tube(np.array(path) + (0, base), (0.46, 0.17)))
        parts.append(Revolved(heights, radii, y=base))
        rim = radii[-1] * 0.96
        q = np.linspace(0, 1, 16)
        dome = np.sqrt(1 - 0.96 * q * q) * rim
        parts.append(Shade(ellipse(0, base + h, rim * 1.08, rim * 0.26), 0.65, 0.03))
        parts.append(Revolved(np.concatenate([[0.0], q * self.lid + 0.05]), np.concatenate([[rim], dome]), y=base + h))
        top = base + h + self.lid + 0.04
        if self.knob == "ball":
            q = np.linspace(-0.95, 0.95, 15)
            parts.append(Revolved((q + 1) * 0.16, np.sqrt(1 - q * q) * 0.17, y=top))
        elif self.knob == "cone":
            parts.append(Revolved(np.array([0, 0.08, 0.4]), np.array([0.09, 0.17, 0.02]), y=top))
        else:
            parts.append(Revolved(np.array([0, 0.1, 0.11, 0.2]), np.array([0.09, 0.09, 0.26, 0.24]), y=top))
        if self.handle == "over":
            parts.append(handle)
        return parts

    def words(self) -> tuple[str, list[str]]:
        shape = "tall" if self.height > 1.8 else "low" if self.height < 1.3 else "angular" if self.square > 4 else "round"
        return shape, [f"with a {self.spout} spout"] + (["with feet"] if self.feet else [])
