from __future__ import annotations

import torch

from magicapture.config import Generation
from magicapture.faces.concepts import TOKENS
from magicapture.training import prompts
from magicapture.world.captions import VOCABULARY


def test_templates_are_photo_like_and_known_to_the_mini_pack() -> None:
    for kind in prompts.KINDS:
        assert len(set(prompts.TEMPLATES[kind])) >= 5
        for template in prompts.TEMPLATES[kind]:
            words = [word for word in template.split() if word not in TOKENS]
            assert set(words) <= set(VOCABULARY), template
            assert not {"painting", "drawing", "illustration", "rendering", "rendition"} & set(words)


def test_each_kind_names_its_tokens_once() -> None:
    wanted = {"source": ["[V1]"], "reference": ["[V2]"], "composed": ["[V1]", "[V2]"]}
    for kind, tokens in wanted.items():
        for template in prompts.TEMPLATES[kind]:
            assert [word for word in template.split() if word in TOKENS] == tokens
            assert "[V1]" not in template or "[V1] person" in template


def test_the_default_inference_prompt_is_trained_and_not_the_one_validated() -> None:
    assert Generation().prompts == (prompts.DEFAULT_PROMPT,)
    assert prompts.DEFAULT_PROMPT in prompts.TEMPLATES["composed"]
    assert prompts.DEFAULT_PROMPT not in prompts.validation_prompts()


def test_drawing_reaches_every_template_and_is_a_function_of_the_generator() -> None:
    def drawn(seed: int) -> list[str]:
        generator = torch.Generator().manual_seed(seed)
        return [prompts.draw("composed", generator) for _ in range(200)]

    assert set(drawn(0)) == set(prompts.TEMPLATES["composed"])
    assert drawn(0) == drawn(0) != drawn(1)
