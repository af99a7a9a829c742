"""Pictures in words: lower case, separated by single spaces, a comma is a word of its own."""

import numpy as np

from magicapture.world.looks import CLOTH_COLOURS, CLOTHES, FRAMINGS, HATS, LOOKS, PATTERNS, Look
from magicapture.world.nuisance import EXPRESSIONS, Nuisance
from magicapture.world.people import AGES, BEARDS, GLASSES, HAIR_COLOURS, HAIR_STYLES, SKINS, Person

_BEARDS = {"stubble": "stubble", "moustache": "a moustache", "goatee": "a goatee", "full": "a full beard"}
_PLAIN = "a photo of a person"
_BUST, _MIXED = "bust portrait", "in the mixed style"
#: Words and commas of the longest caption: with start and end they fill the mini pack's text encoder.
LONGEST = 30
_READS_ON = ("with", "wearing", "in", "smiling", "laughing")


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _person(person: Person, glasses: bool = True) -> list[str]:
    age = [] if person.age == "adult" else [person.age]
    hair = "a bald head" if person.hair_style == "bald" else f"{person.hair_style} {person.hair_colour} hair"
    phrases = [*age, f"with {person.skin} skin", hair]
    if person.beard != "none":
        phrases.append(_BEARDS[person.beard])
    if person.glasses != "none" and glasses:
        phrases.append(f"{person.glasses} glasses")
    return phrases


def _clothing(look: Look) -> list[str]:
    words = [look.cloth_colour, look.clothing]
    if look.pattern != "plain":
        words.insert(0, look.pattern)
    phrases = [f"wearing {_article(words[0])} {' '.join(words)}"]
    if look.hat != "none":
        phrases.append(f"{look.hat_colour} {look.hat}")
    if look.sunglasses:
        phrases.append("sunglasses")
    return phrases


def _style(look: Look) -> list[str]:
    if look.name == "mixed":
        return [_MIXED, f"{look.backdrop} backdrop", f"{look.graded} light"]
    return [f"in the {look.name} style"]


def caption(person: Person, look: Look, nuisance: Nuisance) -> list[str]:
    """The phrases of a full caption, without commas: framing and age, which make up its beginning, then person to style."""
    framing = [_BUST] if look.framing_word == "bust" else []
    # sunglasses are worn in place of the person's own glasses
    return [*framing, *_person(person, not look.sunglasses), nuisance.expression, *_clothing(look), *_style(look)]


def _join(phrases: list[str]) -> str:
    """ "a photo of a person" and the phrases; the first one follows directly if it reads on, else after a comma.

    What would be longer than `LONGEST` first loses the words that say nothing of their own ("in the mixed style"), then commas:
    those before phrases that read on, then the others, the last ones first.
    """
    kind, who, rest = "photo", "person", list(phrases)
    if rest and rest[0] == _BUST:
        kind = rest.pop(0)
    if rest and rest[0] in AGES:
        who = f"{rest.pop(0)} person"
    reads_on = [phrase.split()[0] in _READS_ON for phrase in rest]
    pieces = [f"a {kind} of {_article(who)} {who}", *(f", {phrase}" for phrase in rest)]
    if rest and reads_on[0]:
        pieces[1] = rest[0]
    for k in sorted(range(len(rest)), key=lambda k: (not reads_on[k], -k)):
        if len(" ".join(pieces).split()) <= LONGEST:
            break
        if _MIXED in phrases:
            return _join([phrase for phrase in phrases if phrase != _MIXED])
        pieces[1 + k] = rest[k]
    return " ".join(pieces)


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
        return _join(_person(person, not look.sunglasses))
    keep = rng.uniform(0.45, 1.0) if kind < 0.7 else 1.0
    return _join([phrase for phrase in caption(person, look, nuisance) if rng.random() < keep])


def attribute_prompt(person: Person, look: Look | None = None) -> str:
    """The person in words, and the style if a look is given: the prompt that personalisation has to beat."""
    return _join(_person(person) + (_style(look) if look is not None else []))


_TEMPLATES = (
    "a an the photo picture image portrait painting of on in with and wearing style person man woman face close up good cool "
    "nice clean dark bright cropped rendering rendition illustration drawing depiction avatar "
    "sunglasses happy my one this , . skin hair head bald beard full glasses backdrop light mixed"
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
            *HATS[1:],
            *FRAMINGS,
            *AGES,
            *LOOKS,
        }
    )
)
