"""Phase 2: LoRA and tokens together."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("training"), install_kfp_package=False)
def tuning(
    prepared: dsl.Input[dsl.Dataset],
    tokens: dsl.Input[dsl.Model],
    config: str,
    seed: str,
    checkpoints: str,
    code: str,
    adapter: dsl.Output[dsl.Model],
):
    """Tune the adapter; the step that the judge likes best is kept, and the last one beside it.

    Args:
        prepared: The prepared/1 artifact.
        tokens: The tokens/1 artifact.
        config: The knobs of this stage, as JSON.
        seed: Training seed, a whole number.
        checkpoints: Folder that outlives a retried task, which goes on from its lineage's last checkpoint in it.
        code: Hash of source code and pack, so that the cache sees a change.
        adapter: The adapter/1 artifact.
    """
    import json

    from magicapture import stages
    from magicapture.config import load_config

    adapter.metadata["seed"] = seed
    stages.tune(prepared.path, tokens.path, adapter.path, load_config(json.loads(config)), int(seed), checkpoints)
