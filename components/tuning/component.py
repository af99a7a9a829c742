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
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
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
        metrics: What was counted and measured, and what the task used of the machine.
        page: For the Kubeflow page: attention maps, samples and loss curves.
        summary: For the Kubeflow page: the judge's scores by step, hashes.
    """
    import json

    from components import pages, task
    from magicapture import stages
    from magicapture.config import load_config

    adapter.metadata["seed"] = seed
    with task.watched("tuning") as used:
        stages.tune(prepared.path, tokens.path, adapter.path, load_config(json.loads(config), partial=True), int(seed), checkpoints)
    used.save(adapter.path)
    pages.write(adapter.path, metrics, page, summary, used.numbers())
