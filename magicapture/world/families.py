"""The named families of looks as numbers: their colours, clothes, light and grade."""

from dataclasses import dataclass
from typing import Any


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


_FORMAL, _CASUAL, _WARM = ("suit", "shirt"), ("tee", "sweater", "hoodie", "shirt"), ("coat", "turtleneck", "sweater")
FAMILIES: dict[str, dict[str, Any]] = {
    "passport": dict(
        newer_clothes=("blouse",),
        colours=((0.84, 0.91, 0.97), (0.74, 0.85, 0.95), (0.88, 0.94, 0.98)),
        hues=0.006,
        clothes=("shirt", "sweater", "suit", "tee"),
        cloth_colours=("white", "grey", "navy", "black", "blue", "beige"),
        strength=0.12,
        grade=Grade(contrast=1.0, brightness=1.04),
    ),
    "studio": dict(
        newer_clothes=("jacket", "blouse"),
        light_pattern=(0.35, "window"),
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
        light_pattern=(0.6, "blinds"),
        hats=(0.32, ("fedora",)),
        colours=((0.30, 0.30, 0.32), (0.03, 0.03, 0.04), (0.75, 0.75, 0.75)),
        hues=0.0,
        clothes=("suit", "coat", "turtleneck", "dress"),
        cloth_colours=("black", "grey", "white", "navy"),
        strength=0.85,
        rim=(1, 1, 1),
        rim_strength=0.55,
        grade=Grade(saturation=0.0, contrast=1.2, brightness=1.2, vignette=0.5, grain=0.01),
    ),
    "sepia": dict(
        newer_clothes=("blouse",),
        hats=(0.12, ("fedora", "sunhat")),
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
        newer_clothes=("blouse",),
        hats=(0.32, ("sunhat", "sunhat", "cap")),
        sunglasses=0.2,
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
        newer_clothes=("jacket",),
        light_pattern=(1.0, "duo"),
        hats=(0.16, ("cap", "beanie")),
        sunglasses=0.12,
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
        newer_clothes=("blouse",),
        colours=((1.0, 0.62, 0.76), (0.58, 0.76, 1.0), (0.58, 0.94, 0.74)),
        hues=0.02,
        clothes=("sweater", "dress", "tee", "hoodie"),
        cloth_colours=("pink", "white", "beige", "yellow", "teal"),
        strength=0.14,
        rim=(1.0, 0.75, 0.9),
        rim_strength=0.3,
        grade=Grade(
            saturation=0.92, contrast=0.96, brightness=1.0, shadow=(0.72, 0.52, 0.80), highlight=(1.0, 0.90, 0.95), tint=0.12, lift=0.10
        ),
    ),
    "autumn": dict(
        newer_clothes=("jacket",),
        light_pattern=(0.45, "leaves"),
        hats=(0.28, ("beanie", "fedora")),
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
        colours=((0.98, 0.94, 0.86), (0.90, 0.83, 0.74), (0.96, 0.62, 0.70)),
        hues=0.015,
        clothes=("suit", "dress"),
        cloth_colours=("white", "black", "beige", "grey", "navy", "pink"),
        strength=0.2,
        rim=(1, 1, 0.95),
        rim_strength=0.35,
        grade=Grade(saturation=0.96, contrast=0.96, brightness=1.05, highlight=(1.0, 0.95, 0.86), tint=0.1, lift=0.04),
    ),
    "office": dict(
        newer_clothes=("blouse",),
        light_pattern=(0.35, "blinds"),
        colours=((0.74, 0.80, 0.84), (0.36, 0.47, 0.58), (0.24, 0.34, 0.46)),
        hues=0.02,
        clothes=_FORMAL + ("turtleneck",),
        cloth_colours=("white", "blue", "navy", "grey", "black"),
        strength=0.3,
        grade=Grade(saturation=0.88, shadow=(0.22, 0.32, 0.40), highlight=(0.92, 1.0, 0.98), tint=0.12),
    ),
    "winter": dict(
        newer_clothes=("jacket",),
        hats=(0.45, ("beanie",)),
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
        newer_clothes=("jacket", "blouse"),
        hats=(0.06, ("sunhat", "cap")),
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
        newer_clothes=("jacket",),
        hats=(0.2, ("cap",)),
        sunglasses=0.07,
        colours=((0.98, 0.82, 0.20), (0.93, 0.30, 0.25), (0.20, 0.55, 0.90)),
        hues=0.12,
        clothes=_CASUAL,
        cloth_colours=("red", "blue", "yellow", "green", "purple", "orange"),
        strength=0.3,
        grade=Grade(saturation=1.3, contrast=1.12, levels=7, ink=1.0),
    ),
    "garden": dict(
        newer_clothes=("blouse",),
        light_pattern=(0.6, "leaves"),
        hats=(0.26, ("sunhat",)),
        colours=((0.40, 0.70, 0.22), (0.10, 0.34, 0.12), (0.95, 0.38, 0.55)),
        hues=0.03,
        clothes=("dress", "shirt", "tee", "sweater"),
        cloth_colours=("white", "yellow", "pink", "blue", "purple", "beige"),
        strength=0.3,
        rim=(1, 1, 0.75),
        rim_strength=0.4,
        grade=Grade(saturation=1.12, brightness=1.03),
    ),
    "night": dict(
        newer_clothes=("jacket",),
        light_pattern=(0.75, "lamp"),
        hats=(0.16, ("beanie", "fedora")),
        colours=((0.10, 0.14, 0.34), (0.03, 0.05, 0.14), (0.96, 0.82, 0.50)),
        hues=0.03,
        clothes=("coat", "hoodie", "turtleneck", "suit"),
        cloth_colours=("navy", "black", "grey", "teal", "purple"),
        strength=0.5,
        rim=(0.62, 0.78, 1.0),
        rim_strength=0.75,
        fill=(0.45, 0.52, 0.82),
        grade=Grade(saturation=0.9, contrast=1.02, brightness=1.0, shadow=(0.05, 0.09, 0.30), highlight=(0.86, 0.92, 1.0), tint=0.24),
    ),
    "retro": dict(
        newer_clothes=("jacket",),
        light_pattern=(0.8, "leak"),
        hats=(0.2, ("cap",)),
        sunglasses=0.09,
        colours=((0.93, 0.50, 0.12), (0.16, 0.48, 0.46), (0.97, 0.85, 0.58)),
        hues=0.012,
        clothes=("turtleneck", "shirt", "sweater", "tee"),
        cloth_colours=("orange", "teal", "brown", "yellow", "beige", "green"),
        strength=0.2,
        grade=Grade(
            saturation=0.98,
            contrast=0.98,
            shadow=(0.16, 0.22, 0.30),
            highlight=(1.0, 0.88, 0.60),
            tint=0.24,
            lift=0.05,
            vignette=0.2,
            grain=0.006,
        ),
    ),
}
