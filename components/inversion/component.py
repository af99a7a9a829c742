"""Phase 1: textual inversion of the two tokens."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("training"), install_kfp_package=False)
def inversion(prepared: dsl.Input[dsl.Dataset], config: str, seed: str, checkpoints: str, code: str, tokens: dsl.Output[dsl.Model]):
    """Learn the tokens [V1] (the person) and [V2] (the look).

    Args:
        prepared: The prepared/1 artifact.
        config: The knobs of this stage, as JSON.
        seed: Training seed, a whole number.
        checkpoints: Folder that outlives a retried task, which goes on from its lineage's last checkpoint in it.
        code: Hash of source code and pack, so that the cache sees a change.
        tokens: The tokens/1 artifact.
    """
    import json

    from magicapture import stages
    from magicapture.config import load_config

    tokens.metadata["seed"] = seed
    stages.invert(prepared.path, tokens.path, load_config(json.loads(config)), int(seed), checkpoints)
