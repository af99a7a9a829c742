"""Super-resolution and face restoration."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("postprocessing"), install_kfp_package=False)
def postprocessing(
    images: dsl.Input[dsl.Dataset],
    config: str,
    code: str,
    portraits: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
):
    """Upscale every picture, restore its faces and paste them back.

    Args:
        images: The images/1 artifact.
        config: The knobs of this stage, as JSON.
        code: Hash of source code and pack, so that the cache sees a change.
        portraits: The portraits/1 artifact.
        metrics: What was counted and measured, and what the task used of the machine.
        page: For the Kubeflow page: every picture before and after.
        summary: For the Kubeflow page: how many of which size.
    """
    import json

    from components import pages, task
    from magicapture import stages
    from magicapture.config import load_config

    portraits.metadata["seed"] = images.metadata["seed"]
    with task.watched("postprocessing") as used:
        stages.postprocess(images.path, portraits.path, load_config(json.loads(config), partial=True))
    used.save(portraits.path)
    pages.write(portraits.path, metrics, page, summary, used.numbers())
