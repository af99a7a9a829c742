"""What the pictures are called while training: templates for the three kinds of rows, and the prompts of validation.

All speak of photos (five of the original code's seven style templates say "painting"), the person is always "a [V1] person" (its
README: better than the bare token; for objects another word, ``training.class_word``; of several subjects or looks the drawn ones'
tokens take the places of "[V1]" and "[V2]", ``faces.concepts``), and :data:`DEFAULT_PROMPT`, which inference
uses, is among the composed templates (the original's recommended prompt is not). Every word is in the mini pack's vocabulary.
"""

from __future__ import annotations

import torch

from magicapture.faces.concepts import REFERENCE_TOKEN, SOURCE_TOKEN

#: Kinds of rows, in the order in which they stand in a batch.
KINDS = ("source", "reference", "composed")
PERSON = "person"

_FRAMES = (
    "a photo of {}",
    "a portrait of {}",
    "a picture of {}",
    "an image of {}",
    "a good photo of {}",
    "a nice photo of {}",
    "a close up photo of {}",
    "a bright photo of {}",
)
_OF_FACES = ("a portrait of {}",)


def _templates(word: str) -> dict[str, tuple[str, ...]]:
    article = "an" if word[0] in "aeiou" else "a"
    subjects = {
        "source": f"a {SOURCE_TOKEN} {word}",
        "reference": f"{article} {word} in the {REFERENCE_TOKEN} style",
        "composed": f"a {SOURCE_TOKEN} {word} in the {REFERENCE_TOKEN} style",
    }
    frames = [frame for frame in _FRAMES if word == PERSON or frame not in _OF_FACES]
    return {kind: tuple(frame.format(subject) for frame in frames) for kind, subject in subjects.items()}


def templates(kind: str, word: str = PERSON) -> tuple[str, ...]:
    """The prompts of a kind of row, for photos of a ``word`` (``training.class_word``); the first composed one is inference's."""
    return _templates(word)[kind]


def validation_prompts(word: str = PERSON) -> tuple[str, ...]:
    """Prompts whose samples choose the best step; none is the default prompt that results are reported with."""
    return templates("composed", word)[1:3]


#: Kind -> its templates, of people.
TEMPLATES = _templates(PERSON)
DEFAULT_PROMPT = TEMPLATES["composed"][0]


def draw(kind: str, generator: torch.Generator, word: str = PERSON) -> str:
    """One of the kind's templates, uniformly."""
    known = templates(kind, word)
    return known[int(torch.randint(len(known), (), generator=generator))]
