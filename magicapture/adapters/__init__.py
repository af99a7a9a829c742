"""Adapters: LoRA on UNet and text encoders, and the learnt tokens, in memory and on disk.

On disk an adapter is two files that stock diffusers reads::

    pipeline.load_lora_weights(folder)  # pytorch_lora_weights.safetensors
    for token, vector in load_file(folder / "tokens.safetensors").items():
        pipeline.load_textual_inversion({token: vector})  # diffusers takes one token a call

Stable Diffusion XL has two text encoders, and a token one vector in each, "[V1].clip_l" and "[V1].clip_g"::

    pipeline.text_encoder_2.text_model.eos_token_id = pipeline.tokenizer_2.eos_token_id  # its configuration says 2, which is wrong
    pipeline.load_lora_weights(folder)
    for name, vector in load_file(folder / "tokens.safetensors").items():
        token, number = name[:-7], "_2" * name.endswith(".clip_g")
        encoder, tokenizer = getattr(pipeline, "text_encoder" + number), getattr(pipeline, "tokenizer" + number)
        pipeline.load_textual_inversion({token: vector}, text_encoder=encoder, tokenizer=tokenizer)

To other tools and back, and arithmetic: ``adapters.export``, ``adapters.operations`` (`magicapture adapter`, docs/adapters.md).

A baseline that changes the model's own weights leaves them in ``weights.safetensors`` instead of LoRA (``adapters.weights``).
"""

from __future__ import annotations

from magicapture.adapters.files import AdapterError, Stored, load, load_tokens, read, restore, save, save_tokens, tensor_hash, tensors
from magicapture.adapters.lora import Groups, attach, attached, detach, set_scales
from magicapture.adapters.weights import disabled, put_back, unfreeze

__all__ = [
    "AdapterError",
    "Groups",
    "Stored",
    "attach",
    "attached",
    "detach",
    "disabled",
    "load",
    "load_tokens",
    "put_back",
    "read",
    "restore",
    "save",
    "save_tokens",
    "set_scales",
    "tensor_hash",
    "tensors",
    "unfreeze",
]
