"""Chairs and cars: what tells one from another, in numbers, and the parts they are made of."""

from dataclasses import dataclass

import numpy as np

from magicapture.world.canvas import disc, ellipse, ribbon, smooth
from magicapture.world.objects.solids import DEPTH, GLASS, LAMP, Decal, Part, Prism, Revolved, Shade, Tube, Wheel

Rng = np.random.Generator


def _rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2)])


def _rounded(corners: np.ndarray, radius: float) -> np.ndarray:
    """The polygon with each corner cut to an arc that starts `radius` before it: unlike a spline it never swings out."""
    before, after = np.roll(corners, 1, 0) - corners, np.roll(corners, -1, 0) - corners
    shares = [np.minimum(radius / np.hypot(d[:, 0], d[:, 1]), 0.45)[:, None] for d in (before, after)]
    a, b = corners + before * shares[0], corners + after * shares[1]
    t = np.linspace(0, 1, 5)[None, :, None]
    return ((1 - t) ** 2 * a[:, None] + 2 * t * (1 - t) * corners[:, None] + t**2 * b[:, None]).reshape(-1, 2)


@dataclass(frozen=True)
class Chair:
    """Lengths in units of the seat's width."""

    depth: float
    seat: float  # its height
    thick: float
    round_seat: bool
    back: str
    back_height: float
    taper: float  # the back's top width over its foot's
    legs: str
    leg: float  # thickness
    arms: bool

    @staticmethod
    def sample(rng: Rng) -> "Chair":
        round_seat = bool(rng.random() < 0.3)
        return Chair(
            depth=rng.uniform(0.8, 1.15),
            seat=float(rng.choice([rng.uniform(0.5, 0.7), rng.uniform(0.8, 1.0), rng.uniform(1.2, 1.5)])),
            thick=float(rng.choice([rng.uniform(0.08, 0.12), rng.uniform(0.2, 0.32)])),
            round_seat=round_seat,
            back=str(rng.choice(("solid", "slats", "ladder", "hoop", "oval"))),
            back_height=float(rng.choice([rng.uniform(0.5, 0.75), rng.uniform(0.9, 1.2), rng.uniform(1.3, 1.6)])),
            taper=rng.uniform(0.7, 1.2),
            legs=str(rng.choice(("square", "splayed", "pedestal"))),
            leg=rng.uniform(0.09, 0.17),
            arms=bool(rng.random() < 0.4 and not round_seat),
        )

    def parts(self) -> list[Part]:
        s, d, w, t = self.seat, self.depth, self.leg, self.thick
        parts: list[Part] = []
        under = s - t
        middle = DEPTH * d / 2

        def leg(x: float, z: float, spread: tuple[float, float]) -> Part:
            if self.legs == "square":
                return Prism(_rectangle(x - w / 2, 0, x + w / 2, under + 0.02), w, z - w / 2, 0.5)
            top, foot = DEPTH * z + (x, under + 0.02), DEPTH * (z + spread[1]) + (x + spread[0], 0)
            return Tube(np.array([top, (top + foot) / 2, foot]), (w * 1.1, w * 0.6))

        inset = 0.27 if self.round_seat else 0.5 - w / 2
        places = [
            (sx * inset, z, (sx * 0.16, sz * 0.16))
            for z, sz in ((d * 0.5 + inset * d * 0.98, 1), (d * 0.5 - inset * d * 0.98, -1))
            for sx in (-1, 1)
        ]
        if self.legs == "pedestal":
            foot = Revolved(np.array([0, 0.05, 0.1, 0.16]), np.array([0.44, 0.42, 0.2, w * 0.7]), middle[0], middle[1], squash=0.32)
            column = Revolved(np.array([0.1, under]), np.array([w * 0.75, w * 0.75]), middle[0], middle[1], squash=0.3)
            parts += [foot, column]
        else:
            parts += [leg(*p) for p in places[:2]]
            parts.append(Shade(_rectangle(-0.7, under - 0.35, 0.9, under + 0.6), 0.45, 0.06))
        parts += self._back()
        if self.round_seat:
            parts.append(
                Revolved(
                    np.array([0, t * 0.2, t * 0.8, t]), np.array([0.5, 0.54, 0.54, 0.5]), middle[0], under + middle[1], squash=0.31 * d
                )
            )
        else:
            parts.append(Prism(_rectangle(-0.52, under, 0.52, s), d))
        parts.append(Shade(_rectangle(-0.45, s - 0.04, 0.45, s + 0.05) + DEPTH * d, 0.5, 0.06))
        if self.legs != "pedestal":
            parts += [leg(*p) for p in places[2:]]
            parts.append(Shade(_rectangle(-0.6, under - 0.1, 0.6, under - 0.02), 0.5, 0.04))
        if self.arms:
            for x in (0.48, -0.48):
                parts.append(Prism(_rectangle(x - w * 0.4, s, x + w * 0.4, s + 0.34), w * 0.8, d * 0.12, 0.4))
                parts.append(Prism(_rectangle(x - w * 0.7, s + 0.32, x + w * 0.7, s + 0.42), d * 0.85, d * 0.05))
        return parts

    def _back(self) -> list[Part]:
        z, h, s, w = self.depth * (0.86 if self.round_seat else 1) - 0.1, self.back_height, self.seat - 0.02, self.leg
        f = 0.36 if self.round_seat else 0.48  # half its width at the foot
        k = f * self.taper
        depth = 0.1

        def panel(shape: np.ndarray) -> Part:
            return Prism(shape, depth, z)

        if self.back == "solid":
            top = [(-f, s), (f, s), (k, s + h * 0.85), (k * 0.85, s + h), (-k * 0.85, s + h), (-k, s + h * 0.85)]
            return [panel(np.array(top))]
        if self.back == "oval":
            stand: list[Part] = [Prism(_rectangle(x - w / 2, s, x + w / 2, s + h * 0.4), depth, z) for x in (-0.22, 0.22)]
            return [*stand, panel(ellipse(0, s + h * 0.62, f * 1.05, h * 0.42, count=32))]
        if self.back == "hoop":
            o = DEPTH * z
            bars: list[Part] = [
                Tube(np.array([(x * 0.8, s), (x, s + h * 0.45), (x * 1.02, s + h * 0.92)]) + o, (w * 0.45, w * 0.45))
                for x in (-f * 0.55, 0, f * 0.55)
            ]
            arch = [(-f * 0.9, s), (-k, s + h * 0.55), (-k * 0.62, s + h * 0.95), (k * 0.62, s + h * 0.95), (k, s + h * 0.55), (f * 0.9, s)]
            return [*bars, Tube(np.array(arch) + o, (w * 0.95, w * 0.95))]
        posts: list[Part] = [
            panel(np.array([(x * f - w / 2, s), (x * f + w / 2, s), (x * k + w / 2, s + h), (x * k - w / 2, s + h)])) for x in (-1, 1)
        ]
        if self.back == "slats":
            bars = [
                panel(np.array([(x * f - w * 0.3, s), (x * f + w * 0.3, s), (x * k + w * 0.3, s + h), (x * k - w * 0.3, s + h)]))
                for x in (-0.5, 0, 0.5)
            ]
            return [*bars, *posts, panel(_rectangle(-k - w / 2, s + h - 0.16, k + w / 2, s + h))]
        rungs = []
        for a in (0.34, 0.64, 0.94)[: 3 if h > 0.85 else 2] if h > 0.6 else (0.45, 0.9):
            x = f + (k - f) * a
            rungs.append(panel(_rectangle(-x, s + h * a - 0.15, x, s + h * a)))
        return [*rungs, *posts]

    def words(self) -> tuple[str, list[str]]:
        total = self.seat + self.back_height
        shape = "tall" if total > 2.1 else "low" if total < 1.45 else "round" if self.round_seat else "square"
        back = {"solid": "with a solid back", "slats": "with a slatted back", "ladder": "with a ladder back"}
        return shape, [back.get(self.back, f"with a {self.back} back")] + (["with arms"] if self.arms else [])


@dataclass(frozen=True)
class Car:
    """Lengths in units of the car's length; it faces right."""

    body: str
    belt: float  # height of the body's upper edge
    hood: float  # where the cabin ends in front
    trunk: float  # where the cabin starts behind
    roof: float  # height of the cabin
    rake: float  # slope of windscreen and rear window
    wheel: float
    hub: float
    spokes: int
    nose: float  # how far the hood drops
    windows: int
    width: float
    wing: bool

    @staticmethod
    def sample(rng: Rng) -> "Car":
        body = str(rng.choice(("sedan", "beetle", "van", "pickup", "sports")))
        low, high, trunk, hood, rake = {
            "sedan": (0.17, 0.21, (0.12, 0.22), (0.66, 0.74), (0.08, 0.14)),
            "beetle": (0.22, 0.28, (0.06, 0.12), (0.68, 0.78), (0.12, 0.2)),
            "van": (0.28, 0.36, (0.01, 0.03), (0.84, 0.97), (0.01, 0.1)),
            "pickup": (0.18, 0.23, (0.38, 0.48), (0.72, 0.8), (0.02, 0.08)),
            "sports": (0.1, 0.14, (0.14, 0.26), (0.6, 0.7), (0.11, 0.15)),
        }[body]
        return Car(
            body=body,
            belt=rng.uniform(0.14, 0.19) if body == "sports" else rng.uniform(0.2, 0.29),
            hood=rng.uniform(*hood),
            trunk=rng.uniform(*trunk),
            roof=rng.uniform(low, high),
            rake=rng.uniform(*rake),
            wheel=rng.uniform(0.08, 0.14),
            hub=rng.uniform(0.45, 0.72),
            spokes=int(rng.choice([0, 3, 4, 5, 6])),
            nose=rng.uniform(0.01, 0.09) if body != "van" else rng.uniform(0, 0.03),
            windows=int(rng.integers(1, 4)),
            width=rng.uniform(0.36, 0.5),
            wing=bool(body == "sports" and rng.random() < 0.6),
        )

    def parts(self) -> list[Part]:
        r, d = self.wheel, self.width
        low = r * 0.75
        belt = low + self.belt
        drop = min(self.nose, self.belt * 0.4)
        curve = self.body in ("beetle", "sports")
        hull = [
            (0.01, low),
            (0.99, low),
            (1.0, low + 0.07),
            (0.985, belt - drop),
            (self.hood, belt),
            (self.trunk, belt),
            (0.02, belt - drop * 0.5),
        ]
        hull += [(0.0, low + 0.08)]
        profile = _rounded(np.array(hull), 0.11 if curve else 0.035)
        parts: list[Part] = [Wheel(x + DEPTH[0] * d * 0.7, r + DEPTH[1] * d * 0.7, r, self.hub, 0) for x in (0.2, 0.79)]
        parts.append(Prism(profile, d, bulge=0.55))
        a0, a1, b1, b0 = self.trunk, self.trunk + self.rake * 0.8, self.hood - self.rake, self.hood
        top, base = belt + self.roof, belt - 0.015
        cabin = np.array([(a0, base), (b0, base), (b1, top), (a1, top)])
        if curve:
            over = [(b0, base), (b1 + 0.01, top - 0.025), ((a1 + b1) / 2, top), (a1 - 0.01, top - 0.025), (a0, base)]
            cabin = smooth(over, 5, closed=False)
        else:
            cabin = _rounded(cabin, 0.03)
        inset = d * 0.1
        parts.append(Prism(cabin, d - 2 * inset, inset, 0.3))
        o = DEPTH * inset
        m = 0.028
        left, right = (a0 + m * 1.3, a1 + m * 0.9), (b0 - m * 1.3, b1 - m * 0.9)
        low_y, top_y = belt + 0.012, top - m * 1.15
        for k in range(self.windows):
            p, q = k / self.windows, (k + 1) / self.windows
            gap = 0.012 if self.windows > 1 else 0.0
            pane = [(left[0] + (right[0] - left[0]) * p + gap, low_y), (left[0] + (right[0] - left[0]) * q - gap, low_y)]
            pane += [(left[1] + (right[1] - left[1]) * q - gap, top_y), (left[1] + (right[1] - left[1]) * p + gap, top_y)]
            parts.append(Decal(np.array(pane) + o, GLASS))
            if k:
                x = left[0] + (right[0] - left[0]) * p
                parts.append(Shade(ribbon([(x, belt), (x, low + 0.04)], 0.012, (1, 1)), 0.5, 0.002))
        front = np.array([(b0, base + 0.02), (b1 + (0.01 if curve else 0), top - 0.03)])
        depth = DEPTH * (d - 2 * inset)
        screen = [front[0] + o + depth * 0.1, front[0] + o + depth * 0.9, front[1] + o + depth * 0.88, front[1] + o + depth * 0.12]
        parts.append(Decal(np.array(screen), GLASS))
        parts.append(Shade(ribbon([(0.03, low + self.belt * 0.45), (0.97, low + self.belt * 0.42)], 0.01, (1, 1)), 0.35, 0.003))
        for x in (0.2, 0.79):
            parts.append(Shade(ellipse(x, r * 1.02, r * 1.17), 0.9, 0.004))
            parts.append(Wheel(x, r, r, self.hub, self.spokes, 0.04))
        parts.append(Shade(_rectangle(0.0, low - 0.02, 1.0, low + 0.015), 0.5, 0.015))
        lamp_y = low + max(self.belt - drop, 0.1) * 0.62
        for z in (0.14, 0.84):
            parts.append(Decal(disc(DEPTH * d * z + (0.995, lamp_y), 0.022, 0.026, count=12), LAMP))
        parts.append(Decal(ellipse(0.955, lamp_y, 0.03, 0.02, count=12), LAMP))
        if self.wing:
            parts.append(Prism(_rectangle(0.03, belt - 0.03, 0.06, belt + 0.06), 0.03, d * 0.2))
            parts.append(Prism(_rectangle(-0.02, belt + 0.05, 0.14, belt + 0.075), d * 0.9, d * 0.05))
        return parts

    def words(self) -> tuple[str, list[str]]:
        total = self.belt + self.roof
        shape = "tall" if total > 0.5 else "low" if total < 0.34 else "round" if self.body == "beetle" else "long"
        return shape, ["with big wheels"] if self.wheel > 0.12 else ["with small wheels"] if self.wheel < 0.095 else []
