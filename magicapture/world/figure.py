"""Where the parts of a person are: the head's and the body's frame, and the outlines that several layers share."""

import numpy as np

from magicapture.world.canvas import Points, luminance, mix, smooth
from magicapture.world.looks import Look
from magicapture.world.nuisance import FACES, Nuisance
from magicapture.world.people import Person

UNIT = 0.355  # half a head in picture widths, at scale 1
_TURN = 0.52  # radians of head turn at yaw 1
_DARK = ("noir", "neon", "night", "sepia")
_DEPTH = 0.40  # how far the middle of the face stands before its silhouette


class Frame:
    """Head coordinates (x right, y down, origin between crown and chin) to picture coordinates."""

    def __init__(self, x: float, y: float, unit: float, tilt: float = 0.0, yaw: float = 0.0, width: float = 0.75):
        self.x, self.y, self.unit, self.width = x, y, unit, width
        self.turn = yaw * _TURN
        self.turn_cos, self.turn_sin = np.cos(self.turn), np.sin(self.turn)
        self.cos, self.sin = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))

    def __call__(self, points: Points, depth: float = 0.0) -> np.ndarray:
        """Points (n, 2) or (2,) at one depth: a turned head shifts what is near one way and what is far the other."""
        p = np.asarray(points, float)
        return self._place(p[..., 0] + depth * self.turn_sin, p[..., 1])

    def _place(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.empty(np.shape(x) + (2,))
        out[..., 0] = (self.cos * x - self.sin * y) * self.unit + self.x
        out[..., 1] = (self.sin * x + self.cos * y) * self.unit + self.y
        return out

    def face(self, points: Points, out: float = 0.0) -> np.ndarray:
        """Points on the front of the face, `out` before its surface: the far side is compressed, the near side widened."""
        p = np.asarray(points, float)
        z = _DEPTH * np.sqrt(np.maximum(1 - (p[..., 0] / (self.width * 1.12)) ** 2, 0.05)) + out
        return self._place(p[..., 0] * self.turn_cos + z * self.turn_sin, p[..., 1])


def mirror(points: Points) -> np.ndarray:
    return np.asarray(points, float) * (-1, 1)


class Figure:
    """One person in one pose: frames, shading colours and shared outlines."""

    def __init__(self, person: Person, look: Look, nuisance: Nuisance):
        self.person, self.look, self.nuisance = person, look, nuisance
        self.expression = FACES[nuisance.expression]
        # the photographer steps back for a hat
        framing = look.framing * (1.0 if look.hat == "none" else 0.93)
        unit = UNIT * nuisance.scale * framing
        x, y = 0.5 + nuisance.dx, 0.465 + nuisance.dy - 0.16 * (1 - look.framing) + 0.2 * (look.framing - framing)
        self.head = Frame(x, y, unit, nuisance.tilt, nuisance.yaw, person.cheek)
        pivot = self.head((0, 0.75))
        # shoulders follow the head's place, not its tilt
        self.body = Frame(pivot[0] * 0.75 + 0.25 * x, pivot[1] - 0.75 * unit, unit)
        self.light = float(np.clip(look.light + 0.35 * nuisance.light, -1, 1))  # -1 from the left, 1 from the right
        self.skin = np.asarray(person.skin_rgb)
        if look.graded in _DARK:
            # exposed for the face: a photographer lights a dark face more in a dark scene
            self.skin = mix(self.skin, (0.80, 0.62, 0.52), 0.62 * max(0.0, 1 - luminance(self.skin) / 0.62))
        self.shade = self.skin * (0.80, 0.66, 0.62) * 0.97
        self.deep = self.skin * (0.55, 0.38, 0.36)
        self.glow = np.minimum(self.skin * 1.10 + 0.055, 1)
        self.chin = person.chin + self.expression.jaw
        self.outline = self._outline()

    def _outline(self) -> np.ndarray:
        """The head from crown to chin, in picture coordinates."""
        p = self.person
        cheeks = 0.018 * self.expression.cheeks
        corner = p.jaw * (0.86 + 0.1 * p.squareness)
        # old skin hangs: hollow below the cheekbones, jowls at the jaw
        sag = 0.045 if p.age == "elderly" else 0.0
        right = np.array(
            [
                (p.forehead * 0.50, -0.925),
                (p.forehead * 0.87, -0.64),
                (p.cheek * 0.99, -0.18),
                (p.cheek + cheeks, 0.16),
                (p.jaw * 0.60 + p.cheek * 0.40 + cheeks - 0.9 * sag, 0.45),
                (corner + 0.6 * sag, 0.66 + 0.05 * p.squareness + sag),
                (p.chin_width + 0.34 * (corner - p.chin_width), self.chin - 0.13 + 0.03 * p.squareness),
                (p.chin_width * 0.72, self.chin - 0.025),
            ]
        )
        points = np.concatenate([[(0, -1.0)], right, [(0, self.chin)], mirror(right[::-1])])
        # the chin stands forward, so it turns with the face while the skull stays
        forward = 0.22 * np.clip((points[:, 1] + 0.2) / 1.2, 0, 1) ** 1.5
        points[:, 0] += forward * np.sin(self.head.turn)
        return self.head(smooth(points, 5))
