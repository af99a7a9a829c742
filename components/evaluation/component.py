"""Scores, ranking, report."""

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("evaluation"), install_kfp_package=False)
def evaluation(
    portraits: dsl.Input[dsl.Dataset], prepared: dsl.Input[dsl.Dataset], config: str, code: str, scores: dsl.Output[dsl.Artifact]
):
    """Score likeness, style and aesthetics of every portrait, rank them, write the report.

    Args:
        portraits: The portraits/1 artifact.
        prepared: The prepared/1 artifact.
        config: The knobs of this stage, as JSON.
        code: Hash of source code and pack, so that the cache sees a change.
        scores: The evaluation/1 artifact.
    """
    import json

    from magicapture import stages
    from magicapture.config import load_config

    scores.metadata["seed"] = portraits.metadata["seed"]
    stages.evaluate(portraits.path, prepared.path, scores.path, load_config(json.loads(config)))
