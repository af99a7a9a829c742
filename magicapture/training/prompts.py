"""What the pictures are called while training: templates for the three kinds of rows, and the prompts of validation.

All speak of photos (five of the original code's seven style templates say "painting"), the person is always "a [V1] person" (its
README: better than the bare token), and :data:`DEFAULT_PROMPT`, which inference uses, is among the composed templates
(the original's recommended prompt is not). Every word is in the mini pack's vocabulary.
"""

from __future__ import annotations

import torch

#: The learnt tokens, as they are written in prompts: the person (source set) and the look (reference set).
SOURCE_TOKEN, REFERENCE_TOKEN = "[V1]", "[V2]"
TOKENS = (SOURCE_TOKEN, REFERENCE_TOKEN)
#: Kinds of rows, in the order in which they stand in a batch.
KINDS = ("source", "reference", "composed")

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
_SUBJECTS = {
    "source": f"a {SOURCE_TOKEN} person",
    "reference": f"a person in the {REFERENCE_TOKEN} style",
    "composed": f"a {SOURCE_TOKEN} person in the {REFERENCE_TOKEN} style",
}
#: Kind -> its templates.
TEMPLATES = {kind: tuple(frame.format(subject) for frame in _FRAMES) for kind, subject in _SUBJECTS.items()}
DEFAULT_PROMPT = TEMPLATES["composed"][0]
#: Prompts whose samples choose the best step; none is the default prompt that results are reported with.
VALIDATION_PROMPTS = TEMPLATES["composed"][1:3]


def draw(kind: str, generator: torch.Generator) -> str:
    """One of the kind's templates, uniformly."""
    templates = TEMPLATES[kind]
    return templates[int(torch.randint(len(templates), (), generator=generator))]
