"""The gate of the model registry."""

from typing import List

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("registry"), install_kfp_package=False)
def promotion(
    run: dsl.Input[dsl.Artifact],
    prepared: dsl.Input[dsl.Dataset],
    tokens: dsl.Input[List[dsl.Model]],
    adapter: dsl.Input[List[dsl.Model]],
    images: dsl.Input[List[dsl.Dataset]],
    portraits: dsl.Input[List[dsl.Dataset]],
    evaluation: dsl.Input[List[dsl.Artifact]],
    config: str,
    promotion: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    page: dsl.Output[dsl.HTML],
    summary: dsl.Output[dsl.Markdown],
):
    """Log every stage to MLflow, register the best seed's model, move the champion alias or say why not.

    Args:
        run: The run/1 artifact.
        prepared: The prepared/1 artifact.
        tokens: Of every seed, as are the next four.
        adapter: The tuned models.
        images: The sampled pictures.
        portraits: The finished pictures.
        evaluation: Their scores.
        config: All knobs, as JSON.
        promotion: The promotion/1 artifact.
        metrics: The winner's scores, whether it is champion, and what the task used of the machine.
        page: For the Kubeflow page: the report of the best seed.
        summary: For the Kubeflow page: the verdict and the candidates.
    """
    import json

    from components import pages, task
    from magicapture import stages
    from magicapture.config import load_config

    kinds = {"tokens": tokens, "adapter": adapter, "images": images, "portraits": portraits, "evaluation": evaluation}
    folders = {kind: {artifact.metadata["seed"]: artifact.path for artifact in artifacts} for kind, artifacts in kinds.items()}
    candidates = [{"prepared": prepared.path} | {kind: folders[kind][seed] for kind in kinds} for seed in folders["adapter"]]
    with task.watched("promotion") as used:
        stages.promote(candidates, promotion.path, load_config(json.loads(config)), run.path)
    pages.write(promotion.path, metrics, page, summary, used.numbers())
