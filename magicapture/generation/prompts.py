"""The prompts of the two baselines: the untuned model knows neither [V1] nor [V2], nor [V1:anna]."""

from __future__ import annotations

import re
from collections.abc import Iterable

PLAIN = "a photo of a {}"

_TOKEN = r"\[V{}(?::[^\]]*)?\]"
_NOUN = r"(?:style|look|theme|aesthetic|mood)"
_LOOK = re.compile(rf"{_TOKEN.format(2)}(?:[\s-]+{_NOUN}\b)?", re.IGNORECASE)
_PERSON = re.compile(rf"(?:\b(a|an|the)\s+)?{_TOKEN.format(1)}(?:\s+(\w+))?", re.IGNORECASE)
# Words that show that no noun follows a token ("a portrait of [V1] at the beach").
_NO_NOUN = re.compile(
    "in|on|at|by|of|as|to|from|with|without|near|under|over|and|or|but|is|was|who|that|dressed|"
    "wearing|holding|standing|sitting|walking|looking|smiling|laughing|riding|reading|playing|posing",
    re.IGNORECASE,
)
# "in the [V2] style", "in [V2] style", "in the style of [V2]", "with style [V2]" (original code), "and a [V2] look"; not "with a [V2] hat"
_LOOK_PHRASE = re.compile(
    rf"\b(?:in|with|of|and)\s+(?:(?:the|a|an)\s+)?(?:{_NOUN}\s+(?:of\s+)?(?:the\s+)?)?{_TOKEN.format(2)}"
    rf"(?:\s+{_NOUN}\b|(?=\s*(?:[^\w\s]|$)|\s+(?:{_NO_NOUN.pattern})\b))",
    re.IGNORECASE,
)


TEMPLATE = "a photo of a [V1] person in the [V2] style"


def without_tokens(prompts: Iterable[str], word: str = "person") -> list[str]:
    """A warning for every prompt that names neither person nor look: nothing of what was learnt would be in its picture.

    >>> without_tokens(["[V1:anna] at the beach", "a dog"])[0][:45]
    "prompt 'a dog' has neither [V1] (the person) "
    """
    template = TEMPLATE.replace("person", word)
    return [
        f"prompt {prompt!r} has neither [V1] (the person) nor [V2] (the look), so nothing learnt will show; write for example {template!r}"
        for prompt in dict.fromkeys(prompts)
        if not re.search(r"\[V[12](?::[^\]]*)?\]", prompt, re.IGNORECASE)
    ]


def base_prompt(prompt: str, word: str = "person") -> str:
    """The prompt with the learnt tokens taken out tidily; ``word`` (``training.class_word``) stands where [V1] stood alone.

    >>> base_prompt("a photo of a [V1] person in the [V2] style")
    'a photo of a person'
    >>> base_prompt("[V1] at the beach, in the style of [V2]")
    'a person at the beach'
    >>> base_prompt("a photo of a [V1:anna] person in the [V2:noir] style")
    'a photo of a person'
    >>> base_prompt("[V1] on a table with a [V2] cloth", "vase")
    'a vase on a table with a cloth'
    """
    text = _LOOK.sub("", _LOOK_PHRASE.sub("", prompt))
    text = _PERSON.sub(lambda match: _without_token(match, word), text)
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"( ?,)(?: ?,)+", r"\1", text).strip(" ,")
    return text or PLAIN.format(word)


def _without_token(match: re.Match[str], thing: str) -> str:
    article, word = match.group(1), match.group(2)
    words = thing if word is None else f"{thing} {word}" if _NO_NOUN.fullmatch(word) else word
    if article is None or article.lower() != "the":
        article = "an" if words[0].lower() in "aeiou" else "a"
    return f"{article} {words}"


def attributes_prompt(person: str | None, look: str | None, word: str = "person") -> str | None:
    """Descriptions of the person and of the look as one prompt, in the manner of the world's captions; None without either.

    >>> attributes_prompt("a person with light skin , long blonde hair", "in the beach style")
    'a photo of a person with light skin , long blonde hair , in the beach style'
    """
    person, look = ((text or "").strip().rstrip(".").strip() for text in (person, look))
    if not person and not look:
        return None
    if not person:
        return f"{PLAIN.format(word)} {look}"
    if person.split()[0].lower() in ("with", "wearing", "in"):
        person = f"a {word} {person}"
    if not re.match(r"(?:an? |the )?(?:photo|picture|image|portrait)\b", person, re.IGNORECASE):
        person = f"a photo of {person}"
    return f"{person} , {look}" if look else person
