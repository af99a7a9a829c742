"""How a picture looks: backdrop, clothing, light, grade and framing, in named families. A look knows nothing of people.

Colours are RGB in [0, 1].
"""

import colorsys
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from magicapture.world.families import FAMILIES, Grade

CLOTHES = ("tee", "sweater", "shirt", "suit", "hoodie", "turtleneck", "dress", "coat", "jacket", "blouse")
CLOTH_COLOURS = {
    "red": (0.80, 0.15, 0.16),
    "orange": (0.93, 0.50, 0.15),
    "yellow": (0.95, 0.78, 0.22),
    "green": (0.20, 0.54, 0.30),
    "teal": (0.13, 0.54, 0.56),
    "blue": (0.20, 0.40, 0.80),
    "navy": (0.13, 0.18, 0.38),
    "purple": (0.50, 0.24, 0.62),
    "pink": (0.93, 0.56, 0.68),
    "white": (0.94, 0.94, 0.95),
    "grey": (0.55, 0.57, 0.60),
    "black": (0.13, 0.13, 0.15),
    "brown": (0.45, 0.29, 0.19),
    "beige": (0.87, 0.78, 0.64),
}
HATS = ("none", "beanie", "cap", "fedora", "sunhat")
PATTERNS = ("plain", "striped", "dotted", "plaid", "floral")
LIGHTS = ("none", "blinds", "leaves", "window", "lamp", "leak", "duo")
FRAMINGS = ("close", "bust")
#: The names of the families, as captions use them.
LOOKS = tuple(FAMILIES)
_ALL = tuple(CLOTH_COLOURS)
_CLOSE, _BUST = 0.95, 0.72  # the head takes two thirds of the height, or half
_ONE_COLOURED = ("suit", "coat", "jacket")


@dataclass(frozen=True)
class Look:
    """Everything of a picture that is neither the person nor the pose; equal factors give equal pictures."""

    name: str
    seed: int
    backdrop: str  # the family whose scenery stands behind
    colours: tuple[tuple[float, float, float], ...]  # of the backdrop, three of them
    clothing: str
    cloth_colour: str
    cloth_rgb: tuple[float, float, float]
    pattern: str
    accent: tuple[float, float, float]  # tie, scarf, stripes
    necklace: bool
    hat: str  # one of HATS
    hat_colour: str  # a word of CLOTH_COLOURS
    hat_rgb: tuple[float, float, float]
    sunglasses: bool  # worn in place of the person's own glasses
    light: float  # -1 from the picture's left .. 1 from its right
    light_strength: float
    light_pattern: str  # one of LIGHTS: what falls over the person and the face
    rim: tuple[float, float, float]
    rim_strength: float
    fill: tuple[float, float, float]  # colour that the shaded side is multiplied with
    graded: str  # the family whose grade and light these are
    grade: Grade
    framing: float  # head size, about 1: close, below: more of the clothing

    @property
    def framing_word(self) -> str:
        """One of FRAMINGS."""
        return "bust" if self.framing < 0.85 else "close"

    @staticmethod
    def sample(seed: int, name: str | None = None) -> "Look":
        """A look of the family `name`, or of a random family."""
        rng = np.random.default_rng([seed, 11])
        drawn = LOOKS[int(rng.integers(len(LOOKS)))]
        name = drawn if name is None else name
        if name not in FAMILIES:
            raise ValueError(f"no family of looks is called {name!r}; there are: {', '.join(LOOKS)}")
        family = FAMILIES[name]
        h = rng.normal(0, 1)
        colours = tuple(
            _shift(c, family["hues"] * h + rng.normal(0, 0.012), rng.normal(0, 0.06), rng.normal(0, 0.03)) for c in family["colours"]
        )
        kind = str(rng.choice(family["clothes"]))
        word = str(rng.choice(family["cloth_colours"]))
        base = CLOTH_COLOURS[word]
        accent_word = str(rng.choice([w for w in _ALL if w != word]))
        pattern = "plain" if kind in ("suit", "coat") else str(rng.choice(PATTERNS[:3], p=[0.6, 0.22, 0.18]))
        worn, pattern = _newer_clothes(seed, family, kind, pattern)
        hat, hat_colour, hat_rgb, sunglasses = _headwear(seed, family, word)
        low, high = family.get("light", (-0.9, 0.9))
        light = float(rng.uniform(low, high))
        if abs(light) < 0.25 and family["strength"] > 0.4:
            light = 0.25 if light >= 0 else -0.25
        grade = family["grade"]
        wobble = 1 + rng.normal(0, 0.04, 3)
        grade = replace(
            grade,
            saturation=grade.saturation * float(wobble[0]),
            contrast=grade.contrast * float(1 + 0.5 * (wobble[1] - 1)),
            brightness=grade.brightness * float(1 + 0.6 * (wobble[2] - 1)),
        )
        red, green, blue = (float(v) for v in np.clip(np.asarray(base) * (1 + rng.normal(0, 0.05)) + rng.normal(0, 0.012, 3), 0.05, 0.98))
        return Look(
            name=name,
            seed=seed,
            backdrop=name,
            colours=colours,
            clothing=worn,
            cloth_colour=word,
            cloth_rgb=(red, green, blue),
            pattern=pattern,
            accent=CLOTH_COLOURS[accent_word],
            # drawn for the first garment, so that later draws stay in place
            necklace=bool(kind in ("dress", "tee") and rng.random() < 0.4) and worn in ("dress", "tee"),
            hat=hat,
            hat_colour=hat_colour,
            hat_rgb=hat_rgb,
            sunglasses=sunglasses,
            light=light,
            light_strength=family["strength"] * float(rng.uniform(0.85, 1.15)),
            light_pattern=_light_pattern(seed, family),
            rim=_shift(family.get("rim", (1, 1, 1)), rng.normal(0, 0.04 if name == "neon" else 0.01), 0, 0),
            rim_strength=family.get("rim_strength", 0.0),
            fill=family.get("fill", (0.55, 0.52, 0.60)),
            graded=name,
            grade=grade,
            framing=_CLOSE if rng.random() < 0.85 else _BUST,
        )

    @staticmethod
    def compose(seed: int) -> "Look":
        """A look named "mixed": the backdrop of one family, light and grade of a second, clothes of a third."""
        rng = np.random.default_rng([seed, 12])
        names = [LOOKS[i] for i in rng.choice(len(LOOKS), 3, replace=False)]
        behind, graded, dressed = (Look.sample(int(rng.integers(2**31)), n) for n in names)
        return replace(
            behind,
            name="mixed",
            seed=seed,
            clothing=dressed.clothing,
            cloth_colour=dressed.cloth_colour,
            cloth_rgb=dressed.cloth_rgb,
            pattern=dressed.pattern,
            accent=dressed.accent,
            necklace=dressed.necklace,
            hat=dressed.hat,
            hat_colour=dressed.hat_colour,
            hat_rgb=dressed.hat_rgb,
            sunglasses=dressed.sunglasses,
            light=graded.light,
            light_strength=graded.light_strength,
            light_pattern=graded.light_pattern,
            rim=graded.rim,
            rim_strength=graded.rim_strength,
            fill=graded.fill,
            graded=graded.name,
            grade=graded.grade,
        )


def _shift(colour: tuple[float, float, float], hue: float, value: float, saturation: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*colour)
    return colorsys.hsv_to_rgb((h + hue) % 1, min(max(s + saturation, 0), 1), min(max(v * (1 + value), 0.02), 1))


# What came to the world later draws from generators of its own, so that the older draws of every seed stay as they were.


def _newer_clothes(seed: int, family: dict[str, Any], kind: str, pattern: str) -> tuple[str, str]:
    """Garment and pattern, some of them exchanged for those that the first draw does not know."""
    rng = np.random.default_rng([seed, 22])
    exchange, chosen = rng.random(2)
    newer = family.get("newer_clothes", ())
    if newer and exchange < 0.2:
        kind = newer[int(chosen * len(newer))]
    exchange, chosen = rng.random(2)
    if exchange < (0.15 if pattern == "plain" else 0.4):
        pattern = PATTERNS[3:][int(2 * chosen)]
    return kind, "plain" if kind in _ONE_COLOURED else pattern


def _headwear(seed: int, family: dict[str, Any], cloth: str) -> tuple[str, str, tuple[float, float, float], bool]:
    """Hat, its colour as word and RGB, and whether sunglasses are worn."""
    rng = np.random.default_rng([seed, 21])
    worn, kind, alike, other, shade, sunny = rng.random(6)
    share, hats = family.get("hats", (0.0, HATS[:1]))
    hat = hats[int(kind * len(hats))] if worn < share else "none"
    words = family["cloth_colours"]
    word = cloth if alike < 0.35 else words[int(other * len(words))]
    red, green, blue = (min(v * (0.9 + 0.2 * shade), 0.98) for v in CLOTH_COLOURS[word])
    return hat, word, (red, green, blue), bool(sunny < family.get("sunglasses", 0.0))


def _light_pattern(seed: int, family: dict[str, Any]) -> str:
    share, pattern = family.get("light_pattern", (0.0, "none"))
    return str(pattern) if np.random.default_rng([seed, 23]).random() < share else "none"
