"""What an object is made of and the table and wall that go with it, in named families: a texture knows nothing of shapes."""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from magicapture.world.canvas import mix
from magicapture.world.objects import patterns

Colour = tuple[float, float, float]
Array = np.ndarray


@dataclass(frozen=True)
class Texture:
    """Material, pattern and surroundings; equal factors give equal pictures. `scale` multiplies the pattern's size."""

    name: str
    seed: int
    colours: tuple[Colour, ...]  # three of the pattern
    wall: Colour
    floor: Colour
    scale: float
    gloss: float  # strength of the highlight
    sharpness: float  # its exponent
    metal: float
    clear: float  # how much of the backdrop shows through

    @staticmethod
    def sample(seed: int, name: str | None = None) -> "Texture":
        """A draw from the family `name`, or from any. Raises ValueError for an unknown name."""
        rng = np.random.default_rng([seed, 23])
        drawn = TEXTURES[int(rng.integers(len(TEXTURES)))]
        name = drawn if name is None else name
        if name not in _FAMILIES:
            raise ValueError(f"no texture {name!r}: choose one of {', '.join(TEXTURES)}")
        family = _FAMILIES[name]
        palettes, rooms = family["palettes"], family["rooms"]
        colours = palettes[int(rng.integers(len(palettes)))]
        wall, floor = rooms[int(rng.integers(len(rooms)))]
        turn, light = rng.normal(0, family.get("hues", 0.012)), rng.normal(0, 0.02)
        gloss, sharpness = family.get("light", (0.5, 30.0))
        return Texture(
            name,
            seed,
            tuple(_turned(c, turn, light) for c in colours),
            _turned(wall, rng.normal(0, 0.015), rng.normal(0, 0.025)),
            _turned(floor, rng.normal(0, 0.015), rng.normal(0, 0.025)),
            float(rng.uniform(0.88, 1.18)),
            gloss,
            sharpness,
            family.get("metal", 0.0),
            family.get("clear", 0.0),
        )


def _turned(colour: Colour, hue: float, light: float) -> Colour:
    h, lightness, s = colorsys.rgb_to_hls(*colour)
    r, g, b = colorsys.hls_to_rgb((h + hue) % 1, float(np.clip(lightness + light, 0.02, 0.98)), s)
    return (r, g, b)


_WARM_ROOM = ((0.86, 0.76, 0.62), (0.55, 0.36, 0.22))
_WHITE_ROOM = ((0.88, 0.88, 0.87), (0.80, 0.79, 0.77))
_FAMILIES: dict[str, dict] = {
    "ceramic": dict(
        draw=patterns.ceramic,
        palettes=[
            ((0.10, 0.42, 0.50), (0.05, 0.22, 0.36), (0.74, 0.58, 0.42)),
            ((0.30, 0.46, 0.26), (0.14, 0.28, 0.16), (0.70, 0.50, 0.34)),
            ((0.72, 0.24, 0.14), (0.42, 0.10, 0.08), (0.84, 0.72, 0.56)),
        ],
        rooms=[_WARM_ROOM, ((0.70, 0.74, 0.72), (0.50, 0.40, 0.30))],
        light=(0.9, 90.0),
    ),
    "wood": dict(
        draw=patterns.wood,
        palettes=[
            ((0.80, 0.56, 0.32), (0.46, 0.26, 0.12), (0.30, 0.16, 0.08)),
            ((0.62, 0.36, 0.20), (0.30, 0.14, 0.07), (0.2, 0.1, 0.05)),
            ((0.90, 0.74, 0.50), (0.66, 0.44, 0.24), (0.5, 0.32, 0.18)),
        ],
        rooms=[((0.55, 0.63, 0.52), (0.74, 0.68, 0.56)), ((0.90, 0.86, 0.78), (0.60, 0.62, 0.56))],
        light=(0.18, 14.0),
    ),
    "marble": dict(
        draw=patterns.marble,
        palettes=[
            ((0.95, 0.94, 0.93), (0.72, 0.72, 0.75), (0.36, 0.37, 0.42)),
            ((0.12, 0.13, 0.15), (0.24, 0.25, 0.28), (0.92, 0.88, 0.80)),
            ((0.16, 0.38, 0.30), (0.10, 0.26, 0.21), (0.86, 0.92, 0.84)),
        ],
        rooms=[((0.62, 0.64, 0.70), (0.45, 0.46, 0.52)), ((0.74, 0.68, 0.66), (0.56, 0.50, 0.50))],
        light=(0.55, 50.0),
    ),
    "gold": dict(
        draw=patterns.metal,
        palettes=[((1.0, 0.78, 0.28), (0.90, 0.58, 0.14), (0.9, 0.6, 0.2)), ((0.98, 0.72, 0.34), (0.85, 0.5, 0.2), (0.9, 0.6, 0.2))],
        rooms=[
            ((0.30, 0.06, 0.10), (0.20, 0.03, 0.06)),
            ((0.12, 0.10, 0.18), (0.09, 0.07, 0.12)),
            ((0.10, 0.20, 0.20), (0.05, 0.11, 0.11)),
        ],
        light=(0.8, 24.0),
        metal=1.0,
    ),
    "chrome": dict(
        draw=patterns.chrome,
        palettes=[((0.92, 0.95, 1.0), (0.7, 0.76, 0.85), (1, 1, 1))],
        rooms=[((0.42, 0.52, 0.66), (0.16, 0.19, 0.26)), ((0.60, 0.62, 0.66), (0.22, 0.22, 0.25))],
        light=(1.0, 120.0),
        metal=1.0,
    ),
    "polka": dict(
        draw=patterns.polka,
        palettes=[
            ((0.90, 0.20, 0.22), (0.99, 0.97, 0.93), (1, 0.85, 0.3)),
            ((0.98, 0.96, 0.9), (0.16, 0.42, 0.78), (0.93, 0.36, 0.5)),
            ((0.99, 0.80, 0.22), (0.15, 0.16, 0.22), (0.9, 0.3, 0.2)),
            ((0.2, 0.66, 0.64), (1, 1, 1), (1, 0.62, 0.5)),
        ],
        rooms=[((0.70, 0.88, 0.92), (0.95, 0.93, 0.86)), ((0.98, 0.82, 0.80), (0.93, 0.90, 0.90))],
        hues=0.03,
        light=(0.6, 60.0),
    ),
    "striped": dict(
        draw=patterns.striped,
        palettes=[
            ((0.96, 0.95, 0.91), (0.14, 0.28, 0.55), (0.88, 0.24, 0.22)),
            ((0.98, 0.88, 0.62), (0.93, 0.46, 0.22), (0.2, 0.5, 0.5)),
            ((0.96, 0.94, 0.95), (0.55, 0.3, 0.62), (0.98, 0.72, 0.3)),
            ((0.13, 0.14, 0.17), (0.97, 0.95, 0.9), (0.9, 0.3, 0.3)),
        ],
        rooms=[((0.80, 0.90, 0.94), (0.93, 0.85, 0.68)), ((0.90, 0.90, 0.86), (0.72, 0.78, 0.80))],
        hues=0.02,
        light=(0.45, 40.0),
    ),
    "plaid": dict(
        draw=patterns.plaid,
        palettes=[
            ((0.74, 0.10, 0.12), (0.10, 0.14, 0.20), (0.96, 0.86, 0.5)),
            ((0.12, 0.34, 0.26), (0.08, 0.12, 0.28), (0.92, 0.9, 0.84)),
            ((0.90, 0.82, 0.66), (0.48, 0.32, 0.22), (0.76, 0.16, 0.14)),
        ],
        rooms=[((0.36, 0.26, 0.20), (0.50, 0.34, 0.22)), ((0.30, 0.38, 0.34), (0.48, 0.36, 0.26))],
        light=(0.06, 8.0),
    ),
    "floral": dict(
        draw=patterns.floral,
        palettes=[
            ((0.98, 0.95, 0.88), (0.90, 0.34, 0.46), (0.52, 0.42, 0.78)),
            ((0.70, 0.87, 0.90), (0.97, 0.97, 0.95), (0.98, 0.55, 0.45)),
            ((0.18, 0.20, 0.34), (0.96, 0.62, 0.68), (0.98, 0.9, 0.8)),
        ],
        rooms=[((0.74, 0.86, 0.70), (0.93, 0.90, 0.84)), ((0.96, 0.86, 0.86), (0.90, 0.84, 0.78))],
        light=(0.5, 50.0),
    ),
    "mosaic": dict(
        draw=patterns.mosaic,
        palettes=[
            ((0.10, 0.44, 0.66), (0.16, 0.68, 0.70), (0.96, 0.74, 0.24)),
            ((0.78, 0.26, 0.18), (0.94, 0.60, 0.22), (0.20, 0.38, 0.52)),
            ((0.40, 0.24, 0.60), (0.86, 0.36, 0.56), (0.30, 0.70, 0.62)),
        ],
        rooms=[((0.95, 0.88, 0.74), (0.80, 0.62, 0.46)), ((0.66, 0.82, 0.90), (0.88, 0.82, 0.72))],
        light=(0.8, 40.0),
    ),
    "lava": dict(
        draw=patterns.lava,
        palettes=[((0.24, 0.18, 0.18), (1.0, 0.26, 0.04), (1.0, 0.80, 0.30))],
        rooms=[((0.16, 0.05, 0.05), (0.10, 0.04, 0.04)), ((0.12, 0.07, 0.12), (0.07, 0.04, 0.06))],
        light=(0.3, 10.0),
    ),
    "ice": dict(
        draw=patterns.ice,
        palettes=[((0.56, 0.80, 0.94), (0.26, 0.56, 0.84), (0.92, 0.98, 1.0)), ((0.60, 0.88, 0.92), (0.22, 0.62, 0.72), (0.94, 1.0, 1.0))],
        rooms=[((0.36, 0.52, 0.72), (0.86, 0.92, 0.97)), ((0.20, 0.30, 0.50), (0.66, 0.76, 0.88))],
        light=(0.75, 90.0),
        clear=0.3,
    ),
    "knitted": dict(
        draw=patterns.knitted,
        palettes=[
            ((0.78, 0.18, 0.18), (0.97, 0.94, 0.88), (0.97, 0.94, 0.88)),
            ((0.22, 0.34, 0.52), (0.95, 0.93, 0.88), (0.92, 0.66, 0.28)),
            ((0.94, 0.90, 0.82), (0.56, 0.36, 0.28), (0.30, 0.50, 0.46)),
            ((0.34, 0.50, 0.36), (0.97, 0.92, 0.80), (0.86, 0.36, 0.26)),
        ],
        rooms=[((0.82, 0.72, 0.62), (0.62, 0.46, 0.34)), ((0.66, 0.70, 0.76), (0.86, 0.86, 0.88))],
        light=(0.03, 6.0),
    ),
    "porcelain": dict(
        draw=patterns.porcelain,
        palettes=[((0.96, 0.97, 0.98), (0.28, 0.44, 0.76), (0.10, 0.20, 0.56))],
        rooms=[((0.62, 0.44, 0.34), (0.36, 0.22, 0.16)), ((0.76, 0.78, 0.70), (0.50, 0.36, 0.26))],
        light=(0.9, 90.0),
    ),
}
#: The names of the families, as captions use them.
TEXTURES = tuple(_FAMILIES)


def pattern(texture: Texture, u: Array, v: Array) -> patterns.Skin:
    """The texture at surface coordinates `u`, `v` (h, w) float32."""
    draw: Callable[[patterns.Colours, int, Array, Array], patterns.Skin] = _FAMILIES[texture.name]["draw"]
    return draw(texture.colours, texture.seed, u / np.float32(texture.scale) + 4, v / np.float32(texture.scale))


def shadow_colour(texture: Texture) -> Array:
    """What a shadow multiplies the floor with: never black, tinted by the room."""
    return mix(np.asarray(texture.wall) * 0.35, (0.12, 0.11, 0.16), 0.5)
