"""How a picture looks: backdrop, clothing, light, grade and framing, in named families. A look knows nothing of people.

Colours are RGB in [0, 1].
"""

import colorsys
from dataclasses import dataclass, replace

import numpy as np

CLOTHES = ("tee", "sweater", "shirt", "suit", "hoodie", "turtleneck", "dress", "coat")
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
PATTERNS = ("plain", "striped", "dotted")
_ALL = tuple(CLOTH_COLOURS)


@dataclass(frozen=True)
class Grade:
    """The picture's development: factors about 1, tints as RGB, amounts 0..1."""

    saturation: float = 1.0
    contrast: float = 1.0
    brightness: float = 1.0
    shadow: tuple[float, float, float] = (0.5, 0.5, 0.5)
    highlight: tuple[float, float, float] = (0.5, 0.5, 0.5)
    tint: float = 0.0  # how far shadows and highlights go towards their tints
    lift: float = 0.0  # black raised towards white
    vignette: float = 0.0
    levels: int = 0  # posterised to so many steps, 0: not
    ink: float = 0.0  # drawn outlines
    grain: float = 0.0


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
    light: float  # -1 from the picture's left .. 1 from its right
    light_strength: float
    rim: tuple[float, float, float]
    rim_strength: float
    fill: tuple[float, float, float]  # colour that the shaded side is multiplied with
    graded: str  # the family whose grade and light these are
    grade: Grade
    framing: float

    @staticmethod
    def sample(seed: int, name: str | None = None) -> "Look":
        """A look of the family `name`, or of a random family."""
        rng = np.random.default_rng([seed, 11])
        drawn = LOOKS[int(rng.integers(len(LOOKS)))]
        name = drawn if name is None else name
        if name not in _FAMILIES:
            raise ValueError(f"no family of looks is called {name!r}; there are: {', '.join(LOOKS)}")
        family = _FAMILIES[name]
        h = rng.normal(0, 1)
        colours = tuple(
            _shift(c, family["hues"] * h + rng.normal(0, 0.012), rng.normal(0, 0.06), rng.normal(0, 0.03)) for c in family["colours"]
        )
        kind = str(rng.choice(family["clothes"]))
        word = str(rng.choice(family["cloth_colours"]))
        base = CLOTH_COLOURS[word]
        accent_word = str(rng.choice([w for w in _ALL if w != word]))
        pattern = "plain" if kind in ("suit", "coat") else str(rng.choice(PATTERNS, p=[0.6, 0.22, 0.18]))
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
            clothing=kind,
            cloth_colour=word,
            cloth_rgb=(red, green, blue),
            pattern=pattern,
            accent=CLOTH_COLOURS[accent_word],
            necklace=bool(kind in ("dress", "tee") and rng.random() < 0.4),
            light=light,
            light_strength=family["strength"] * float(rng.uniform(0.85, 1.15)),
            rim=_shift(family.get("rim", (1, 1, 1)), rng.normal(0, 0.04 if name == "neon" else 0.01), 0, 0),
            rim_strength=family.get("rim_strength", 0.0),
            fill=family.get("fill", (0.55, 0.52, 0.60)),
            graded=name,
            grade=grade,
            framing=1.0 if rng.random() < 0.75 else 0.88,
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
            light=graded.light,
            light_strength=graded.light_strength,
            rim=graded.rim,
            rim_strength=graded.rim_strength,
            fill=graded.fill,
            graded=graded.name,
            grade=graded.grade,
        )


def _shift(colour: tuple[float, float, float], hue: float, value: float, saturation: float) -> tuple[float, float, float]:
    h, s, v = colorsys.rgb_to_hsv(*colour)
    return colorsys.hsv_to_rgb((h + hue) % 1, min(max(s + saturation, 0), 1), min(max(v * (1 + value), 0.02), 1))


_FORMAL, _CASUAL, _WARM = ("suit", "shirt"), ("tee", "sweater", "hoodie", "shirt"), ("coat", "turtleneck", "sweater")
_FAMILIES: dict[str, dict] = {
    "passport": dict(
        colours=((0.90, 0.92, 0.95), (0.82, 0.86, 0.90), (0.95, 0.96, 0.97)),
        hues=0.03,
        clothes=("shirt", "sweater", "suit", "tee"),
        cloth_colours=("white", "grey", "navy", "black", "blue", "beige"),
        strength=0.12,
        grade=Grade(contrast=0.98),
    ),
    "studio": dict(
        colours=((0.42, 0.36, 0.34), (0.10, 0.09, 0.11), (0.60, 0.50, 0.44)),
        hues=0.16,
        clothes=("suit", "turtleneck", "dress", "shirt"),
        cloth_colours=("black", "purple", "red", "green", "white", "navy"),
        strength=0.55,
        rim=(1, 0.92, 0.8),
        rim_strength=0.35,
        grade=Grade(contrast=1.08, vignette=0.35),
    ),
    "noir": dict(
        colours=((0.30, 0.30, 0.32), (0.03, 0.03, 0.04), (0.75, 0.75, 0.75)),
        hues=0.0,
        clothes=("suit", "coat", "turtleneck", "dress"),
        cloth_colours=("black", "grey", "white", "navy"),
        strength=0.85,
        rim=(1, 1, 1),
        rim_strength=0.55,
        grade=Grade(saturation=0.0, contrast=1.22, brightness=1.1, vignette=0.5, grain=0.01),
    ),
    "sepia": dict(
        colours=((0.80, 0.66, 0.48), (0.52, 0.38, 0.26), (0.90, 0.80, 0.64)),
        hues=0.01,
        clothes=("suit", "dress", "turtleneck", "shirt"),
        cloth_colours=("brown", "beige", "white", "black", "grey"),
        strength=0.35,
        grade=Grade(
            saturation=0.12,
            contrast=1.1,
            brightness=1.06,
            shadow=(0.24, 0.13, 0.07),
            highlight=(1.0, 0.85, 0.58),
            tint=0.78,
            lift=0.03,
            vignette=0.4,
            grain=0.008,
        ),
    ),
    "beach": dict(
        colours=((0.33, 0.66, 0.93), (0.10, 0.55, 0.72), (0.95, 0.85, 0.62)),
        hues=0.015,
        clothes=("tee", "shirt", "dress", "hoodie"),
        cloth_colours=("white", "yellow", "orange", "teal", "pink", "blue", "red"),
        strength=0.35,
        rim=(1, 0.95, 0.75),
        rim_strength=0.3,
        grade=Grade(saturation=1.1, brightness=1.05),
    ),
    "neon": dict(
        colours=((0.95, 0.12, 0.72), (0.10, 0.75, 1.0), (0.08, 0.04, 0.18)),
        hues=0.05,
        clothes=("hoodie", "tee", "coat", "turtleneck"),
        cloth_colours=("black", "purple", "navy", "pink", "teal"),
        strength=0.6,
        rim=(1.0, 0.15, 0.75),
        rim_strength=1.0,
        fill=(0.42, 0.58, 1.0),
        grade=Grade(
            saturation=1.15, contrast=1.08, brightness=1.02, shadow=(0.12, 0.03, 0.38), highlight=(0.75, 0.9, 1.0), tint=0.26, vignette=0.25
        ),
    ),
    "pastel": dict(
        colours=((0.98, 0.84, 0.88), (0.82, 0.88, 0.98), (0.88, 0.96, 0.88)),
        hues=0.2,
        clothes=("sweater", "dress", "tee", "hoodie"),
        cloth_colours=("pink", "white", "beige", "yellow", "teal"),
        strength=0.12,
        grade=Grade(saturation=0.88, contrast=1.0, brightness=0.96, lift=0.12),
    ),
    "autumn": dict(
        colours=((0.80, 0.42, 0.12), (0.42, 0.22, 0.08), (0.95, 0.70, 0.22)),
        hues=0.02,
        clothes=_WARM + ("hoodie",),
        cloth_colours=("brown", "orange", "yellow", "green", "red", "beige"),
        strength=0.4,
        rim=(1, 0.75, 0.4),
        rim_strength=0.45,
        grade=Grade(saturation=1.08, shadow=(0.3, 0.13, 0.08), highlight=(1, 0.88, 0.66), tint=0.14, vignette=0.2),
    ),
    "wedding": dict(
        colours=((0.97, 0.95, 0.92), (0.90, 0.86, 0.84), (0.95, 0.76, 0.80)),
        hues=0.015,
        clothes=("suit", "dress"),
        cloth_colours=("white", "black", "beige", "grey", "navy", "pink"),
        strength=0.2,
        rim=(1, 1, 0.95),
        rim_strength=0.35,
        grade=Grade(saturation=0.94, contrast=0.94, brightness=1.05, lift=0.05),
    ),
    "office": dict(
        colours=((0.78, 0.82, 0.84), (0.48, 0.56, 0.62), (0.40, 0.50, 0.58)),
        hues=0.06,
        clothes=_FORMAL + ("turtleneck",),
        cloth_colours=("white", "blue", "navy", "grey", "black"),
        strength=0.3,
        grade=Grade(saturation=0.92),
    ),
    "winter": dict(
        colours=((0.72, 0.82, 0.92), (0.50, 0.64, 0.80), (0.95, 0.97, 1.0)),
        hues=0.02,
        clothes=("coat", "turtleneck", "sweater"),
        cloth_colours=("red", "navy", "white", "grey", "teal", "blue"),
        strength=0.25,
        rim=(0.85, 0.94, 1),
        rim_strength=0.4,
        grade=Grade(saturation=0.86, shadow=(0.18, 0.28, 0.46), highlight=(0.95, 0.98, 1.0), tint=0.14, lift=0.03),
    ),
    "sunset": dict(
        colours=((0.98, 0.52, 0.22), (0.55, 0.20, 0.42), (1.0, 0.82, 0.42)),
        hues=0.015,
        clothes=_CASUAL + ("dress",),
        cloth_colours=("white", "orange", "purple", "black", "beige", "red"),
        strength=0.5,
        rim=(1.0, 0.66, 0.25),
        rim_strength=0.95,
        fill=(0.62, 0.42, 0.60),
        grade=Grade(saturation=1.08, shadow=(0.34, 0.10, 0.24), highlight=(1.0, 0.80, 0.55), tint=0.22),
    ),
    "comic": dict(
        colours=((0.98, 0.82, 0.20), (0.93, 0.30, 0.25), (0.20, 0.55, 0.90)),
        hues=0.12,
        clothes=_CASUAL,
        cloth_colours=("red", "blue", "yellow", "green", "purple", "orange"),
        strength=0.3,
        grade=Grade(saturation=1.3, contrast=1.12, levels=7, ink=1.0),
    ),
    "garden": dict(
        colours=((0.42, 0.66, 0.28), (0.16, 0.36, 0.16), (0.92, 0.55, 0.66)),
        hues=0.03,
        clothes=("dress", "shirt", "tee", "sweater"),
        cloth_colours=("white", "yellow", "pink", "blue", "purple", "beige"),
        strength=0.3,
        rim=(1, 1, 0.75),
        rim_strength=0.4,
        grade=Grade(saturation=1.06, brightness=1.03),
    ),
    "night": dict(
        colours=((0.10, 0.14, 0.34), (0.03, 0.05, 0.14), (0.96, 0.82, 0.50)),
        hues=0.03,
        clothes=("coat", "hoodie", "turtleneck", "suit"),
        cloth_colours=("navy", "black", "grey", "teal", "purple"),
        strength=0.5,
        rim=(0.62, 0.78, 1.0),
        rim_strength=0.75,
        fill=(0.45, 0.52, 0.82),
        grade=Grade(saturation=0.9, contrast=1.02, brightness=0.96, shadow=(0.05, 0.09, 0.30), highlight=(0.86, 0.92, 1.0), tint=0.24),
    ),
    "retro": dict(
        colours=((0.94, 0.56, 0.22), (0.20, 0.52, 0.50), (0.96, 0.86, 0.62)),
        hues=0.05,
        clothes=("turtleneck", "shirt", "sweater", "tee"),
        cloth_colours=("orange", "teal", "brown", "yellow", "beige", "green"),
        strength=0.2,
        grade=Grade(
            saturation=0.98,
            contrast=0.98,
            shadow=(0.16, 0.22, 0.30),
            highlight=(1.0, 0.90, 0.70),
            tint=0.18,
            lift=0.05,
            vignette=0.2,
            grain=0.006,
        ),
    ),
}
#: The names of the families, as captions use them.
LOOKS = tuple(_FAMILIES)
