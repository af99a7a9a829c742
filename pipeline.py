"""The portrait pipeline: pictures of a person and of a look in, a registered model version and ranked portraits out.

1. resolve        validate the knobs, hash data and code, open the MLflow run          (never cached)
2. preprocess     photos -> prepared set
   for every seed:
3. inversion      phase 1: the tokens [V1] and [V2]
4. tuning         phase 2: LoRA and tokens
5. generation     prompts x seeds -> pictures
6. postprocessing upscale, restore faces
7. evaluation     scores, ranking, report
8. promotion      the best seed becomes a model version, and champion if it is better  (never cached)
9. close          end the MLflow run with the final status, whatever it is

    python pipeline.py run --photos data/person --looks data/look --seeds 0,1 --set tuning.steps=80
    python pipeline.py compile --out pipeline.yaml --accelerator nvidia.com/gpu
    python pipeline.py submit --host http://kfp.example.org --photos /data/person --looks /data/look
"""

from pathlib import Path
from typing import Annotated, List  # kfp reads typing's own List

import typer
from kfp import dsl

from components.close import close
from components.cluster import CHECKPOINTS, place
from components.evaluation import evaluation
from components.generation import generation
from components.inversion import inversion
from components.postprocessing import postprocessing
from components.preprocess import preprocess
from components.promotion import promotion
from components.resolve import resolve
from components.tuning import tuning
from magicapture.config import ConfigError


def portraits(accelerator: str | None = "", parallelism: int = 0) -> dsl.base_component.BaseComponent:
    """The pipeline; accelerator "" for a cluster without GPUs, None for this machine; parallelism 0: all seeds at once."""

    @dsl.pipeline(name="magicapture", description="Personalised portraits of one person in one look")
    def magicapture(
        photos: str = "data/person",
        looks: str = "data/look",
        config: str = "mini",
        overrides: List[str] = [],  # noqa: B006  (kfp takes no None here)
        seeds: List[str] = ["0", "1"],  # noqa: B006
        checkpoints: str = CHECKPOINTS,
    ):
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        plan = resolve(photos=photos, looks=looks, config=config, overrides=overrides, seeds=seeds, job=job)
        place(plan, accelerator, "resolve knobs and lineage", cached=False)
        code, data = plan.outputs["code"], plan.outputs["data"]
        closing = place(close(job=job), accelerator, "close the run", cached=False)
        # resolve stays outside: kfp.local 2.17 gives a loop the item in place of any parameter made by a task beside the loop
        with dsl.ExitHandler(closing, name="portraits"):
            ready = preprocess(photos=photos, looks=looks, config=plan.outputs["preprocess"], data=data, code=code)
            place(ready, accelerator, "prepare the pictures")
            with dsl.ParallelFor(seeds, name="seeds", parallelism=parallelism) as seed:
                words = inversion(prepared=ready.output, config=plan.outputs["inversion"], seed=seed, checkpoints=checkpoints, code=code)
                place(words, accelerator, "learn the tokens")
                tuned = tuning(
                    prepared=ready.output,
                    tokens=words.output,
                    config=plan.outputs["tuning"],
                    seed=seed,
                    checkpoints=checkpoints,
                    code=code,
                )
                place(tuned, accelerator, "tune the adapter")
                drawn = generation(adapter=tuned.output, config=plan.outputs["generation"], code=code)
                place(drawn, accelerator, "sample portraits")
                fine = postprocessing(images=drawn.output, config=plan.outputs["postprocessing"], code=code)
                place(fine, accelerator, "upscale and restore")
                scored = evaluation(portraits=fine.output, prepared=ready.output, config=plan.outputs["evaluation"], code=code)
                place(scored, accelerator, "score and rank")
            every = {"tokens": words, "adapter": tuned, "images": drawn, "portraits": fine, "evaluation": scored}
            chosen = promotion(
                run=plan.outputs["run"],
                prepared=ready.output,
                config=plan.outputs["evaluation"],
                **{kind: dsl.Collected(task.output) for kind, task in every.items()},
            )
            place(chosen, accelerator, "promote the best", cached=False)

    return magicapture


app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The portrait pipeline: run it here, compile it, or submit it to a cluster."
)
Photos = Annotated[str, typer.Option(help="Folder with pictures of one person.")]
Looks = Annotated[str, typer.Option(help="Folder with pictures of one look.")]
Preset = Annotated[str, typer.Option(help="Preset name or YAML file of knobs.")]
Set = Annotated[List[str] | None, typer.Option("--set", help="A knob on top of the preset: name=value; may be repeated.")]
Seeds = Annotated[str, typer.Option(help="Training seeds, separated by commas; the best one is promoted.")]
Accelerator = Annotated[str, typer.Option(help="Kubernetes resource of the GPU tasks, for example nvidia.com/gpu; empty: none.")]


@app.command()
def run(
    photos: Photos = "data/person",
    looks: Looks = "data/look",
    preset: Preset = "mini",
    seeds: Seeds = "0,1",
    out: Annotated[Path, typer.Option(help="Where the results are put; caches and stages lie beside it.")] = Path("runs/latest"),
    set_: Set = None,
) -> None:
    """Run on this machine; stages whose data, knobs and code did not change come from the cache."""
    from components.local import run_here

    try:
        run_here(portraits, photos, looks, preset, set_ or [], seeds.split(","), out)
    except (ConfigError, RuntimeError) as error:
        raise SystemExit(f"pipeline.py run: {error}") from None


@app.command(name="compile")
def compile_(out: Annotated[Path, typer.Option(help="YAML to write.")] = Path("pipeline.yaml"), accelerator: Accelerator = "") -> None:
    """Write the pipeline as YAML for Kubeflow Pipelines; equal sources give equal files."""
    from kfp import compiler

    compiler.Compiler().compile(portraits(accelerator), str(out))
    typer.echo(out)


@app.command()
def submit(
    host: Annotated[str, typer.Option(help="Address of Kubeflow Pipelines.")],
    photos: Photos = "/data/person",
    looks: Looks = "/data/look",
    preset: Preset = "mini",
    seeds: Seeds = "0,1",
    set_: Set = None,
    accelerator: Accelerator = "",
    experiment: Annotated[str, typer.Option(help="Experiment on the server.")] = "magicapture",
) -> None:
    """Start a run on a cluster; photos and looks are folders that its pods see."""
    from components.remote import submit_to

    try:
        typer.echo(submit_to(host, portraits(accelerator), photos, looks, preset, set_ or [], seeds.split(","), experiment))
    except (ConfigError, ConnectionError) as error:
        raise SystemExit(f"pipeline.py submit: {error}") from None


if __name__ == "__main__":
    app()
