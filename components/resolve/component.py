"""Opens a pipeline run."""

from typing import List, NamedTuple

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("registry"), install_kfp_package=False)
def resolve(
    photos: str, looks: str, config: str, overrides: List[str], seeds: List[str], job: str, run: dsl.Output[dsl.Artifact]
) -> NamedTuple(
    "Plan",
    [
        ("data", str), ("code", str), ("preprocess", str), ("inversion", str), ("tuning", str), ("generation", str),
        ("postprocessing", str), ("evaluation", str),
    ],
):  # fmt: skip
    """Validate the knobs, name data and code by their hashes, open the MLflow parent run.

    Args:
        photos: Folder with pictures of one person, or git+URL@REVISION#FOLDER.
        looks: Folder with pictures of one look, or git+URL@REVISION#FOLDER.
        config: Preset name, path, or YAML text of the knobs.
        overrides: Knobs on top of it, as "name=value".
        seeds: Training seeds, whole numbers.
        job: Unique id of this pipeline run.
        run: The run/1 artifact: lineage tags and the id of the MLflow run.
    """
    from magicapture import registry

    return tuple(registry.resolve(photos, looks, config, overrides, seeds, job, run.path))
