"""The concepts of an adapter, subjects (source set) and looks (reference set), by the tokens that stand for them in prompts.

One subject is ``[V1]``, one look ``[V2]``. Where a side has several, each is called by its name: ``[V1:anna]``, ``[V1:ben]``; a
plain ``[V1]`` in a prompt then stands for each of them in turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

#: The learnt tokens of one subject and one look.
SOURCE_TOKEN, REFERENCE_TOKEN = "[V1]", "[V2]"
TOKENS = (SOURCE_TOKEN, REFERENCE_TOKEN)

#: What a concept may be called. A dot would part names of parameters, and text encoders cut other characters off.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_WRITTEN = re.compile(r"\[V\d+(?::[^\]]*)?\]", re.IGNORECASE)


def tokens_of(names: Sequence[str], plain: str) -> tuple[str, ...]:
    """The tokens of a side's concepts, in the order of ``names``; ``plain`` ("[V1]") where there is only one.

    >>> tokens_of(["anna", "ben"], "[V1]")
    ('[V1:anna]', '[V1:ben]')
    """
    return (plain,) if len(names) == 1 else tuple(f"{plain[:-1]}:{name}]" for name in names)


def of_side(tokens: Iterable[str], plain: str) -> list[str]:
    """Those of the tokens that are of the side of ``plain``, by name; further vectors ("[V1]_1") are none.

    >>> of_side(["[V2]", "[V1:ben]", "[V1:ben]_1", "[V1:anna]"], "[V1]")
    ['[V1:anna]', '[V1:ben]']
    """
    own = [token for token in tokens if token.endswith("]") and token.startswith((plain, f"{plain[:-1]}:"))]
    return sorted(own, key=lambda token: token[:-1])


def called(prompt: str, *tokens: str) -> str:
    """The prompt with its plain tokens made those of one subject and one look.

    >>> called("a [V1] person in the [V2] style", "[V1:anna]", "[V2]")
    'a [V1:anna] person in the [V2] style'
    """
    for token in tokens:
        prompt = prompt.replace(f"{token[:3]}]", token)
    return prompt


def spread(prompt: str, tokens: Iterable[str]) -> list[str]:
    """The prompt once for every concept that its plain tokens may stand for, ``tokens`` being all of an adapter.

    Subjects change slowest; tokens that already name a concept stay, in the spelling of ``tokens``.

    >>> spread("a [V1] person in the [V2] style", ["[V1:anna]", "[V1:ben]", "[V2]"])
    ['a [V1:anna] person in the [V2] style', 'a [V1:ben] person in the [V2] style']
    """
    known = list(tokens)
    for token in known:
        prompt = re.sub(re.escape(token), lambda _, token=token: token, prompt, flags=re.IGNORECASE)  # type: ignore[misc]
    prompts = [prompt]
    for plain in TOKENS:
        own = of_side(known, plain)
        if plain not in known and own:
            plain_one = re.compile(re.escape(plain), re.IGNORECASE)
            prompts = [p for one in prompts for p in ([plain_one.sub(token, one) for token in own] if plain_one.search(one) else [one])]
    return prompts


def unknown(prompt: str, tokens: Iterable[str]) -> list[str]:
    """What a prompt (once it is spread) writes like a token, and is none of ``tokens``, all of an adapter.

    >>> unknown("a [v1:ANNA] person and [V1:eve] in the [V2] style of [V3]", ["[V1:anna]", "[V1:ben]", "[V2]"])
    ['[V1:eve]', '[V3]']
    """
    known = {token.lower() for token in tokens}
    return [token for token in _WRITTEN.findall(prompt) if token.lower() not in known]


def named(prompt: str) -> list[str]:
    """The tokens in a prompt that say which of several concepts is meant, each once.

    >>> named("a [V1:anna] person in the [V2] style")
    ['[V1:anna]']
    """
    return list(dict.fromkeys(re.findall(r"\[V[12]:[^\]]*\]", prompt)))
