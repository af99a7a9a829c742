"""Scores, ranking, report."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluation"), install_kfp_package=False)
def evaluation(
    portraits: dsl.Input[dsl.Dataset],
    prepared: dsl.Input[dsl.Dataset],
    config: str,
    code: str,
    scores: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
):
    """Score likeness, style and aesthetics of every portrait, rank them, write the report.

    Args:
        portraits: The portraits/1 artifact.
        prepared: The prepared/1 artifact.
        config: The knobs of this stage, as JSON.
        code: Hash of source code and pack, so that the cache sees a change.
        scores: The evaluation/1 artifact.
        metrics: What was counted and measured, and what the task used of the machine.
        page: For the Kubeflow page: the report.
        summary: For the Kubeflow page: the scores with their intervals.
    """
    import json

    from components import pages, task
    from magicapture import stages
    from magicapture.config import load_config

    scores.metadata["seed"] = portraits.metadata["seed"]
    with task.watched("evaluation") as used:
        stages.evaluate(portraits.path, prepared.path, scores.path, load_config(json.loads(config), partial=True))
    used.save(scores.path)
    pages.write(scores.path, metrics, page, summary, used.numbers())
