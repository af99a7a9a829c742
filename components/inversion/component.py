"""Phase 1: textual inversion of the two tokens."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("training"), install_kfp_package=False)
def inversion(
    prepared: dsl.Input[dsl.Dataset],
    config: str,
    seed: str,
    checkpoints: str,
    code: str,
    tokens: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
):
    """Learn the tokens [V1] (the person) and [V2] (the look).

    Args:
        prepared: The prepared/1 artifact.
        config: The knobs of this stage, as JSON.
        seed: Training seed, a whole number.
        checkpoints: Folder that outlives a retried task, which goes on from its lineage's last checkpoint in it.
        code: Hash of source code and pack, so that the cache sees a change.
        tokens: The tokens/1 artifact.
        metrics: What was counted and measured, and what the task used of the machine.
        page: For the Kubeflow page: the loss curves.
        summary: For the Kubeflow page: steps, hash and machine.
    """
    import json

    from components import pages, task
    from magicapture import stages
    from magicapture.config import load_config

    tokens.metadata["seed"] = seed
    with task.watched("inversion") as used:
        stages.invert(prepared.path, tokens.path, load_config(json.loads(config), partial=True), int(seed), checkpoints)
    used.save(tokens.path)
    pages.write(tokens.path, metrics, page, summary, used.numbers())
