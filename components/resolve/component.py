"""Opens a pipeline run."""

from typing import List, NamedTuple

from kfp import dsl

from components.images import image


@dsl.component(base_image=image("registry"), install_kfp_package=False)
def resolve(
    photos: str,
    looks: str,
    config: str,
    overrides: List[str],
    seeds: List[str],
    always: bool,
    job: str,
    run: dsl.Output[dsl.Artifact],
    summary: dsl.Output[dsl.Markdown],
) -> NamedTuple(
    "Plan",
    [
        ("Output", str), ("data", str), ("code", str), ("preprocess", str), ("inversion", str), ("tuning", str), ("generation", str),
        ("postprocessing", str), ("evaluation", str),
    ],
):  # fmt: skip
    """Validate the knobs, name data and code by their hashes, open the MLflow parent run, look whether anything changed.

    Args:
        photos: Folder with pictures of one person, or with a sub-folder for each of several; or git+URL@REVISION#FOLDER.
        looks: Folder with pictures of one look, or with a sub-folder for each of several; or git+URL@REVISION#FOLDER.
        config: Preset name, path, or YAML text of the knobs.
        overrides: Knobs on top of it, as "name=value".
        seeds: Training seeds, whole numbers.
        always: Run the stages even where the champion is of the same data, knobs, code and seeds.
        job: Unique id of this pipeline run.
        run: The run/1 artifact: lineage tags and the id of the MLflow run.
        summary: For the Kubeflow page: the lineage, whether anything changed, and the way to MLflow.
    """
    from components import ending, pages, task
    from magicapture import registry

    with task.watched("resolve"):
        url = ending.run_page(job)
        plan = registry.resolve(photos, looks, config, overrides, seeds, job, run.path, url)
        champion = None if always else registry.nothing_changed(run.path)
        text = pages.plan(run.path, {"MLflow": registry.run_page(run.path), "this run": url}, champion)
        with open(summary.path, "w") as file:
            file.write(text)
    return ("unchanged" if champion else "changed", *plan)
