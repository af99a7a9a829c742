"""Photos in, prepared set out."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def preprocess(
    photos: str,
    looks: str,
    config: str,
    data: str,
    code: str,
    prepared: dsl.Output[dsl.Dataset],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
):
    """Check every picture, find and align faces, write crops, masks, key points and embeddings.

    Args:
        photos: Folder with pictures of one person, or with a sub-folder for each of several; or git+URL@REVISION#FOLDER.
        looks: Folder with pictures of one look, or with a sub-folder for each of several; or git+URL@REVISION#FOLDER.
        config: The knobs of this stage, as JSON.
        data: Hash that the pictures must have; the cache sees by it that they changed.
        code: Hash of source code and pack, so that the cache sees a change.
        prepared: The prepared/1 artifact.
        metrics: What was counted and measured, and what the task used of the machine.
        page: For the Kubeflow page: every picture with its mask and verdict.
        summary: For the Kubeflow page: the verdicts in words.
    """
    import json

    from components import pages, task
    from magicapture import stages
    from magicapture.config import load_config

    with task.watched("preprocess") as used:
        stages.preprocess(photos, looks, prepared.path, load_config(json.loads(config), partial=True), data)
    used.save(prepared.path)
    pages.write(prepared.path, metrics, page, summary, used.numbers())
