"""Adapters: LoRA on UNet and text encoder, and the learnt tokens, in memory and on disk.

On disk an adapter is two files that stock diffusers reads::

    pipeline.load_lora_weights(folder)  # pytorch_lora_weights.safetensors
    for token, vector in load_file(folder / "tokens.safetensors").items():
        pipeline.load_textual_inversion({token: vector})  # diffusers takes one token a call
"""

from __future__ import annotations

from magicapture.adapters.files import AdapterError, Stored, load, load_tokens, read, restore, save, save_tokens, tensor_hash, tensors
from magicapture.adapters.lora import Groups, attach, attached, detach, disabled, set_scales

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
    "read",
    "restore",
    "save",
    "save_tokens",
    "set_scales",
    "tensor_hash",
    "tensors",
]
