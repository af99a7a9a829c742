"""Prompts x seeds to pictures."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("generation"), install_kfp_package=False)
def generation(
    adapter: dsl.Input[dsl.Model],
    config: str,
    code: str,
    images: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
):
    """Sample portraits from the adapter, and the untuned base model beside them.

    Args:
        adapter: The adapter/1 artifact.
        config: The knobs of this stage, as JSON; they name prompts and seeds.
        code: Hash of source code and pack, so that the cache sees a change.
        images: The images/1 artifact.
        metrics: What was counted and measured, and what the task used of the machine.
        page: For the Kubeflow page: the pictures.
        summary: For the Kubeflow page: the prompts.
    """
    import json

    from components import pages, task
    from magicapture import stages
    from magicapture.config import load_config

    images.metadata["seed"] = adapter.metadata["seed"]
    with task.watched("generation") as used:
        stages.generate(adapter.path, images.path, load_config(json.loads(config), partial=True))
    used.save(images.path)
    pages.write(images.path, metrics, page, summary, used.numbers())
