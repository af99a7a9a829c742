"""Pictures in words: lower case, separated by single spaces, a comma is a word of its own."""

import numpy as np

from magicapture.world.looks import CLOTH_COLOURS, CLOTHES, LOOKS, PATTERNS, Look
from magicapture.world.nuisance import EXPRESSIONS, Nuisance
from magicapture.world.people import BEARDS, GLASSES, HAIR_COLOURS, HAIR_STYLES, SKINS, Person

_BEARDS = {"stubble": "stubble", "moustache": "a moustache", "goatee": "a goatee", "full": "a full beard"}
_PLAIN = "a photo of a person"


def _person(person: Person) -> list[str]:
    hair = "a bald head" if person.hair_style == "bald" else f"{person.hair_style} {person.hair_colour} hair"
    phrases = [f"with {person.skin} skin", hair]
    if person.beard != "none":
        phrases.append(_BEARDS[person.beard])
    if person.glasses != "none":
        phrases.append(f"{person.glasses} glasses")
    return phrases


def _clothing(look: Look) -> str:
    words = [look.cloth_colour, look.clothing]
    if look.pattern != "plain":
        words.insert(0, look.pattern)
    return f"wearing {'an' if words[0][0] in 'aeiou' else 'a'} {' '.join(words)}"


def _style(look: Look) -> list[str]:
    if look.name == "mixed":
        return ["in the mixed style", f"{look.backdrop} backdrop", f"{look.graded} light"]
    return [f"in the {look.name} style"]


def caption(person: Person, look: Look, nuisance: Nuisance) -> list[str]:
    """The phrases of a full caption, without commas, from person to style."""
    return [*_person(person), nuisance.expression, _clothing(look), *_style(look)]


def _join(phrases: list[str]) -> str:
    """The first phrase follows "a photo of a person" directly if it reads on, else after a comma."""
    if not phrases:
        return _PLAIN
    comma = "" if phrases[0].split()[0] in ("with", "wearing", "in", "smiling", "laughing") else " ,"
    return f"{_PLAIN}{comma} {' , '.join(phrases)}"


def full_caption(person: Person, look: Look, nuisance: Nuisance) -> str:
    """Everything that words say about a picture."""
    return _join(caption(person, look, nuisance))


def random_caption(person: Person, look: Look, nuisance: Nuisance, rng: np.random.Generator) -> str:
    """A caption with phrases left out at random, so that a model learns short prompts as well as full ones."""
    kind = rng.random()
    if kind < 0.08:
        return _PLAIN
    if kind < 0.20:
        return _join(_style(look))
    if kind < 0.30:
        return _join(_person(person))
    keep = rng.uniform(0.45, 1.0) if kind < 0.7 else 1.0
    return _join([phrase for phrase in caption(person, look, nuisance) if rng.random() < keep])


def attribute_prompt(person: Person, look: Look | None = None) -> str:
    """The person in words, and the style if a look is given: the prompt that personalisation has to beat."""
    return _join(_person(person) + (_style(look) if look is not None else []))


_TEMPLATES = (
    "a an the photo picture image portrait painting of on in with and wearing style person man woman face close up good cool "
    "nice clean dark bright cropped rendering rendition illustration drawing depiction avatar "
    "happy my one this , . skin hair head bald beard full glasses backdrop light mixed"
)
#: Every word that captions use, and those of the prompt templates of personalisation.
VOCABULARY: tuple[str, ...] = tuple(
    sorted(
        {
            *_TEMPLATES.split(),
            *SKINS,
            *HAIR_COLOURS,
            *HAIR_STYLES,
            *(BEARDS[1:]),
            *GLASSES[1:],
            *EXPRESSIONS,
            *CLOTHES,
            *CLOTH_COLOURS,
            *PATTERNS,
            *LOOKS,
        }
    )
)
