"""Who is in the picture: the factors of a person, and strangers who share every attribute that words can name.

Lengths are in head units: 1 is half the height from crown to chin. Colours are RGB in [0, 1].
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

Colour = tuple[float, float, float]

SKINS = {
    "pale": (0.985, 0.875, 0.82),
    "light": (0.955, 0.78, 0.665),
    "olive": (0.85, 0.68, 0.50),
    "tan": (0.81, 0.575, 0.405),
    "brown": (0.61, 0.395, 0.265),
    "dark": (0.405, 0.25, 0.18),
}
HAIR_COLOURS = {
    "black": (0.125, 0.11, 0.13),
    "brown": (0.33, 0.205, 0.135),
    "auburn": (0.46, 0.165, 0.11),
    "ginger": (0.80, 0.39, 0.13),
    "blonde": (0.90, 0.73, 0.38),
    "grey": (0.575, 0.58, 0.60),
    "white": (0.90, 0.89, 0.87),
    "blue": (0.20, 0.40, 0.74),
    "pink": (0.90, 0.46, 0.63),
}
HAIR_STYLES = (
    *("bald", "buzz", "short", "parted", "spiky", "bob", "bangs", "long", "wavy", "curly", "afro", "bun", "ponytail"),
    *("mohawk", "quiff", "braids", "pigtails", "dreadlocks"),
)
_WORN_BY_WOMEN = (0.15, 0.2, 0.8, 0.7, 0.5, 2.2, 2.2, 2.4, 2.2, 1.2, 1.0, 2.0, 2.0)
_WORN_BY_MEN = (1.7, 1.6, 2.2, 2.2, 1.8, 0.3, 0.3, 0.7, 0.5, 1.2, 1.0, 0.5, 0.4)
# the striking styles, which a quarter of people wear instead of what was drawn first
_STRIKING = HAIR_STYLES[len(_WORN_BY_MEN) :]
_STRIKING_ON_WOMEN, _STRIKING_ON_MEN = (0.5, 0.4, 1.8, 1.5, 1.0), (1.2, 1.8, 0.15, 0.1, 1.2)
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
GLASSES = ("none", "round", "square")
AGES = ("young", "adult", "elderly")
EYE_COLOURS = {
    "brown": (0.36, 0.21, 0.11),
    "amber": (0.66, 0.42, 0.14),
    "hazel": (0.50, 0.44, 0.20),
    "green": (0.27, 0.55, 0.32),
    "blue": (0.22, 0.48, 0.82),
    "grey": (0.48, 0.57, 0.63),
    "dark": (0.17, 0.10, 0.08),
}


@dataclass(frozen=True)
class Person:
    """Everything that makes one person; equal factors give equal pictures."""

    seed: int
    skin: str
    skin_rgb: tuple[float, float, float]
    hair_style: str
    hair_colour: str
    hair_rgb: tuple[float, float, float]
    beard: str
    glasses: str
    age: str
    feminine: float  # 0..1: lashes, lips, softer jaw; never named in words
    # head
    forehead: float
    cheek: float
    jaw: float
    chin_width: float
    chin: float  # where the chin ends, about 1
    squareness: float
    # eyes
    eye_colour: str
    eye_rgb: tuple[float, float, float]
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float  # radians, positive: outer corners up
    eye_peak: float  # where the upper lid is highest, -1 inner .. 1 outer
    iris: float
    lid: float  # 0..1 how strong the crease is
    # brows
    brow_y: float
    brow_length: float
    brow_thickness: float
    brow_tilt: float
    brow_arch: float
    brow_rgb: tuple[float, float, float]
    # nose
    nose_y: float
    nose_width: float
    bridge: float
    nose_tip: float  # roundness of the tip
    # mouth
    mouth_y: float
    mouth_width: float
    lip_upper: float
    lip_lower: float
    cupid: float
    lip_rgb: tuple[float, float, float]
    # ears and marks
    ear_size: float
    ear_y: float
    freckles: float  # 0 none .. 1 many
    moles: tuple[tuple[float, float, float], ...]  # x, y, radius
    blush: float
    wrinkles: float
    cheekbone: float
    earrings: str  # none, stud, hoop, drop
    scar: tuple[float, float, float] | None  # x, y, angle in radians
    birthmark: tuple[float, float, float] | None  # x, y, radius
    dimples: float  # 0 none .. 1 deep
    neck: float
    # hair growth
    hairline: float
    hair_volume: float
    hair_length: float
    part: float  # -1..1 side of the parting

    @staticmethod
    def sample(seed: int) -> "Person":
        """One person of the world; the same seed always gives the same person."""
        rng = np.random.default_rng([seed, 1])
        skin = str(rng.choice(list(SKINS)))
        feminine = float(np.clip(rng.beta(0.5, 0.5), 0, 1))
        weights = np.asarray(_WORN_BY_WOMEN) * feminine + np.asarray(_WORN_BY_MEN) * (1 - feminine)
        style = str(rng.choice(HAIR_STYLES[: len(weights)], p=weights / weights.sum()))
        dark = skin in ("brown", "dark")
        odds = [0.26, 0.2, 0.1, 0.1, 0.14, 0.08, 0.05, 0.035, 0.035] if not dark else [0.4, 0.22, 0.08, 0.04, 0.07, 0.08, 0.05, 0.03, 0.03]
        colour = str(rng.choice(list(HAIR_COLOURS), p=np.asarray(odds) / sum(odds)))
        beard = "none" if feminine > 0.5 else str(rng.choice(BEARDS, p=[0.4, 0.14, 0.14, 0.16, 0.16]))
        glasses = str(rng.choice(GLASSES, p=[0.74, 0.13, 0.13]))
        skin_rgb, hair_rgb = _near(rng, SKINS[skin], 0.022, 0.012), _near(rng, HAIR_COLOURS[colour], 0.035, 0.02)
        # a generator of its own: these draws leave those above as they were
        late = np.random.default_rng([seed, 31])
        # beards are not for the young, so the beardless are young more often: a fifth of all people
        age = str(late.choice(AGES, p=[0.28, 0.52, 0.2] if beard == "none" else [0, 0.8, 0.2]))
        striking = np.asarray(_STRIKING_ON_WOMEN) * feminine + np.asarray(_STRIKING_ON_MEN) * (1 - feminine)
        other, change, greying = str(late.choice(_STRIKING, p=striking / striking.sum())), late.random(), late.random()
        if change < 0.25 or (age == "young" and style == "bald"):
            style = other
        grey = "grey" if late.random() < 0.5 else "white"
        if (age == "elderly" and greying < 0.7) or (age == "young" and colour in ("grey", "white")):
            colour = grey if age == "elderly" else "brown"
            hair_rgb = _near(late, HAIR_COLOURS[colour], 0.035, 0.02)
        words: dict[str, Any] = dict(skin=skin, hair_style=style, hair_colour=colour, beard=beard, glasses=glasses, age=age)
        own = _individual(rng, skin, skin_rgb, hair_rgb, feminine, age)
        return Person(seed=seed, feminine=feminine, skin_rgb=skin_rgb, hair_rgb=hair_rgb, **words, **own)

    def attributes(self) -> dict[str, str]:
        """The person in words. Only age, skin, hair, beard and glasses are ever put into captions."""
        places = {True: "forehead", False: "cheek"}
        mole = "none" if not self.moles else "chin" if self.moles[0][1] > 0.72 else places[self.moles[0][1] < -0.15]
        return {
            "skin": self.skin,
            "hair_style": self.hair_style,
            "hair_colour": "none" if self.hair_style == "bald" else self.hair_colour,
            "beard": self.beard,
            "glasses": self.glasses,
            "age": self.age,
            "eye_colour": self.eye_colour,
            "freckles": "none" if self.freckles == 0 else "few" if self.freckles < 0.5 else "many",
            "mole": mole,
            "earrings": self.earrings,
            "scar": "none" if self.scar is None else "cheek" if self.scar[1] > 0.1 else "brow",
            "birthmark": "none" if self.birthmark is None else "cheek" if self.birthmark[1] > 0 else "forehead",
        }


def matched_stranger(person: Person, seed: int) -> Person:
    """Someone else whom words describe the same: age, skin, hair, beard and glasses agree, all the rest is drawn anew."""
    rng = np.random.default_rng([seed, person.seed, 2])
    feminine = float(np.clip(rng.beta(0.5, 0.5), 0, 1)) * (0.5 if person.beard != "none" else 1)
    skin_rgb, hair_rgb = _near(rng, person.skin_rgb, 0.008, 0.005), _near(rng, person.hair_rgb, 0.012, 0.008)
    own = _individual(rng, person.skin, skin_rgb, hair_rgb, feminine, person.age)
    return replace(person, seed=seed, feminine=feminine, skin_rgb=skin_rgb, hair_rgb=hair_rgb, **own)


def _near(rng: np.random.Generator, colour: Colour, brightness: float, hue: float) -> Colour:
    value = np.asarray(colour) * (1 + rng.normal(0, brightness)) + rng.normal(0, hue, 3)
    red, green, blue = (float(v) for v in np.clip(value, 0.04, 1))
    return red, green, blue


def _individual(rng: np.random.Generator, skin: str, skin_rgb: Colour, hair_rgb: Colour, feminine: float, age: str) -> dict[str, Any]:
    """What tells people apart whom the same words describe. Ranges are wide: the face must carry identity at 64 pixels."""

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    dark = skin in ("brown", "dark")
    odds = [0.34, 0.1, 0.1, 0.06, 0.06, 0.06, 0.28] if dark else [0.2, 0.12, 0.14, 0.16, 0.2, 0.1, 0.08]
    eye_colour = str(rng.choice(list(EYE_COLOURS), p=odds))
    cheek = between(0.63, 0.84)
    jaw = cheek * between(0.66, 0.93) * (1 - 0.05 * feminine)
    eye_width = between(0.145, 0.205)
    mouth_y = between(0.55, 0.68)
    moles = []
    if rng.random() < 0.45:
        spot = [
            (between(0.2, 0.48), between(0.25, 0.5)),
            (between(0.05, 0.22), between(0.8, 0.88)),
            (between(0.1, 0.4), between(-0.45, -0.33)),
            (between(0.16, 0.3), between(0.5, 0.56)),
        ][rng.integers(4)]
        moles.append((float(rng.choice([-1, 1])) * spot[0], spot[1], between(0.02, 0.036)))
    skin_array, pink = np.asarray(skin_rgb), np.array([0.80, 0.25, 0.27])
    lipstick = rng.random() < 0.55 * feminine
    lip_hue = np.array([[0.78, 0.16, 0.22], [0.82, 0.30, 0.38], [0.60, 0.14, 0.28], [0.85, 0.36, 0.27]][rng.integers(4)])
    lip = skin_array * 0.35 + lip_hue * 0.65 if lipstick else skin_array * 0.62 + pink * (between(0.24, 0.42) + 0.14 * dark)
    brow_dark = between(0.25, 0.8)
    hair = np.asarray(hair_rgb)
    brow = hair * (0.42 + 0.3 * (1 - brow_dark)) + np.array([0.10, 0.06, 0.05]) * brow_dark
    own: dict[str, Any] = dict(
        forehead=cheek * between(0.86, 1.0),
        cheek=cheek,
        jaw=jaw,
        chin_width=between(0.15, 0.36) * (1 - 0.2 * feminine),
        chin=between(0.9, 1.08),
        squareness=between(0, 1) * (1 - 0.5 * feminine),
        eye_colour=eye_colour,
        eye_rgb=_near(rng, EYE_COLOURS[eye_colour], 0.08, 0.03),
        eye_x=cheek * between(0.43, 0.53),
        eye_y=between(-0.02, 0.12),
        eye_width=eye_width,
        eye_height=eye_width * between(0.56, 0.88),
        eye_tilt=between(-0.17, 0.24),
        eye_peak=between(-0.35, 0.35),
        iris=between(0.82, 1.1),
        lid=between(0, 1),
        brow_y=between(0.17, 0.29),
        brow_length=between(0.17, 0.26),
        brow_thickness=between(0.032, 0.088) * (1 - 0.35 * feminine),
        brow_tilt=between(-0.22, 0.3),
        brow_arch=between(0.0, 0.075),
        brow_rgb=tuple(float(v) for v in np.clip(brow, 0.03, 1)),
        nose_y=between(0.31, 0.44),
        nose_width=between(0.085, 0.185),
        bridge=between(0.03, 0.075),
        nose_tip=between(0, 1),
        mouth_y=mouth_y,
        mouth_width=between(0.185, 0.34),
        lip_upper=between(0.044, 0.088),
        lip_lower=between(0.045, 0.115),
        cupid=between(0.1, 0.7),
        lip_rgb=tuple(float(v) for v in np.clip(lip, 0.05, 1)),
        ear_size=between(0.13, 0.24),
        ear_y=between(0.08, 0.24),
        freckles=0.0 if rng.random() > (0.12 if dark else 0.3) else between(0.3, 1),
        moles=tuple(moles),
        blush=between(0, 1),
        wrinkles=max(0.0, between(-2, 1)),
        cheekbone=between(0, 1),
        earrings=str(rng.choice(["stud", "hoop", "none"], p=[0.25, 0.25, 0.5])) if rng.random() < 0.25 + 0.55 * feminine else "none",
        neck=between(0.36, 0.46) * (1 - 0.16 * feminine),
        hairline=between(-0.64, -0.46),
        hair_volume=between(0.06, 0.17),
        hair_length=between(0, 1),
        part=between(-1, 1),
    )
    if own["earrings"] != "none" and rng.random() < 0.4:
        own["earrings"] = "drop"
    side, mark = float(rng.choice([-1, 1])), rng.random()
    own["dimples"] = between(0.5, 1) if rng.random() < 0.22 else 0.0
    place = between(0, 1)
    # at most one of the two: a face keeps its one memorable mark
    own["scar"] = (side * (0.5 + 0.1 * place) * cheek, 0.3, between(0.5, 1.1)) if mark < 0.08 else None
    if 0.08 <= mark < 0.14:
        own["scar"] = (side * (own["eye_x"] + 0.08 * place), own["eye_y"] - own["brow_y"], between(0.9, 1.5))
    own["birthmark"] = None
    if 0.14 <= mark < 0.24:
        x, y = (0.62 * cheek, between(0.34, 0.46)) if place < 0.6 else (0.45 * cheek, between(-0.4, -0.32))
        own["birthmark"] = (side * x, y, between(0.11, 0.17))
    return own | _aged(own, age)


def _aged(own: dict[str, Any], age: str) -> dict[str, Any]:
    """What age makes of a face: the features that change, from those drawn. Wrinkles never show before the age for them."""
    if age == "adult":
        return {"wrinkles": 0.6 * own["wrinkles"]}

    def scaled(**factors: float) -> dict[str, Any]:
        return {name: own[name] * factor for name, factor in factors.items()}

    if age == "young":
        # a large skull above a small, round lower face; big eyes set low and wide
        face = scaled(eye_height=1.24, nose_width=0.76, bridge=0.8, brow_thickness=0.8, mouth_width=0.86, chin_width=1.15, squareness=0.2)
        width = own["eye_width"] * 1.17
        cheek = max(own["cheek"], 0.70) * 1.02
        face |= dict(eye_width=width, cheek=cheek, forehead=cheek * 0.97, jaw=max(own["jaw"], 0.82 * cheek), cheekbone=0.0, wrinkles=0.0)
        eye_x = max(own["eye_x"] * cheek / own["cheek"], width + 0.075)
        face |= dict(eye_x=eye_x, eye_y=own["eye_y"] + 0.09, nose_y=own["nose_y"] + 0.02, mouth_y=min(own["mouth_y"], 0.62))
        face |= dict(chin=0.90 + 0.3 * (own["chin"] - 0.9), iris=own["iris"] * 1.08, blush=0.35 + 0.65 * own["blush"], lid=0.5 * own["lid"])
        return face
    face = scaled(eye_height=0.86, eye_width=0.95, lip_upper=0.7, lip_lower=0.62, nose_width=1.12, brow_thickness=1.1, ear_size=1.15)
    face |= dict(wrinkles=0.75 + 0.25 * max(own["wrinkles"], own["cheekbone"]), cheekbone=0.5 + 0.5 * own["cheekbone"], lid=1.0)
    # brows grey even where the hair is dyed or gone
    face["brow_rgb"] = tuple(0.4 * c + 0.6 * grey for c, grey in zip(own["brow_rgb"], (0.66, 0.65, 0.66)))
    face["lip_upper"] = max(face["lip_upper"], 0.04)  # thinner, it would fall between the pixels
    face |= dict(eye_tilt=own["eye_tilt"] - 0.09, hairline=own["hairline"] - 0.03, blush=0.5 * own["blush"])
    return face
