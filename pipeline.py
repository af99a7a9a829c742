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
    python pipeline.py submit --host http://kfp.example.org --photos /data/person --looks /data/look --wait
    python pipeline.py schedule --host http://kfp.example.org --name nightly --cron "0 0 3 * * *"
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, List  # kfp reads typing's own List

import typer
from kfp import dsl

from components.close import close
from components.cluster import CHECKPOINTS, check_accelerator, place
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
    """The pipeline; accelerator "" for a cluster without GPUs, None for this machine; parallelism 0: all seeds at once.

    Raises ConfigError for an accelerator that our images cannot use.
    """
    check_accelerator(accelerator or "")

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
Photos = Annotated[str, typer.Option(help="Folder with pictures of one person, or git+URL@REVISION#FOLDER.")]
Looks = Annotated[str, typer.Option(help="Folder with pictures of one look, or git+URL@REVISION#FOLDER.")]
Preset = Annotated[str, typer.Option(help="Preset name or YAML file of knobs.")]
Set = Annotated[List[str] | None, typer.Option("--set", help="A knob on top of the preset: name=value; may be repeated.")]
Seeds = Annotated[str, typer.Option(help="Training seeds, separated by commas; the best one is promoted.")]
Accelerator = Annotated[str, typer.Option(help="Kubernetes resource of the GPU tasks, for example nvidia.com/gpu; empty: none.")]
Host = Annotated[
    str, typer.Option(envvar="KFP_ENDPOINT", help="Address of Kubeflow Pipelines; KFP_EXISTING_TOKEN and KFP_NAMESPACE go with it.")
]
Experiment = Annotated[str, typer.Option(help="Experiment on the server.")]
Parameters = Annotated[
    Path | None,
    typer.Option(
        help="YAML with name, photos, looks, preset, seeds, set; what it leaves out is as the options say. A list starts many runs."
    ),
]
ScheduleName = Annotated[str, typer.Argument(help="Name of the schedule.")]


@contextmanager
def said(command: str) -> Iterator[None]:
    """Errors that a person can act on, as one line and exit code 1."""
    try:
        yield
    except (ConfigError, ConnectionError, RuntimeError) as error:
        raise SystemExit(f"pipeline.py {command}: {error}") from None


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

    with said("run"):
        run_here(portraits, photos, looks, preset, set_ or [], seeds.split(","), out)


@app.command(name="compile")
def compile_(out: Annotated[Path, typer.Option(help="YAML to write.")] = Path("pipeline.yaml"), accelerator: Accelerator = "") -> None:
    """Write the pipeline as YAML for Kubeflow Pipelines; equal sources give equal files."""
    from kfp import compiler

    with said("compile"):
        compiler.Compiler().compile(portraits(accelerator), str(out))
    typer.echo(out)


@app.command()
def submit(
    host: Host,
    name: Annotated[str, typer.Option(help="Name of the run; one that did not fail is not started again. Empty: a new one.")] = "",
    photos: Photos = "/data/person",
    looks: Looks = "/data/look",
    preset: Preset = "mini",
    seeds: Seeds = "0,1",
    set_: Set = None,
    parameters: Parameters = None,
    accelerator: Accelerator = "",
    experiment: Experiment = "magicapture",
    wait: Annotated[
        bool, typer.Option("--wait", help="Say how it goes until the end; exit code 1 unless all succeed. Ctrl-C ends the waiting only.")
    ] = False,
) -> None:
    """Start a run, or many, on a cluster; photos and looks are folders that its pods see."""
    from components import remote, runs

    with said("submit"):
        orders = runs.read_orders(parameters, name=name, photos=photos, looks=looks, preset=preset, seeds=seeds, set=set_ or [])
        pipeline, server, started = portraits(accelerator), remote.Server(host), {}
        for run_name, run_id, new in runs.submit(server, pipeline, orders, experiment):
            started[run_name] = run_id
            typer.echo(f"{run_name}  {runs.address(server, run_id)}{'' if new else '  (there already)'}")
        if wait and not runs.wait(server, started, typer.echo):
            raise SystemExit(1)


@app.command()
def upload(host: Host, accelerator: Accelerator = "") -> None:
    """Put the pipeline on the server as the version named by the git commit; a second time changes nothing."""
    from components import remote

    with said("upload"):
        pipeline, server = portraits(accelerator), remote.Server(host)
        version = remote.upload(server, pipeline, accelerator)
        typer.echo(f"{version.display_name}  {server.host}/#/pipelines/details/{version.pipeline_id}/version/{version.pipeline_version_id}")


@app.command()
def schedule(
    host: Host,
    name: Annotated[str, typer.Option(help="Name of the schedule; one of that name is replaced.")],
    cron: Annotated[str | None, typer.Option(help="Six fields, UTC: second minute hour day-of-month month day-of-week.")] = None,
    every: Annotated[str | None, typer.Option(help="Interval instead: 90s, 30m, 12h or 7d.")] = None,
    photos: Photos = "/data/person",
    looks: Looks = "/data/look",
    preset: Preset = "mini",
    seeds: Seeds = "0,1",
    set_: Set = None,
    parameters: Parameters = None,
    accelerator: Accelerator = "",
    experiment: Experiment = "magicapture",
) -> None:
    """Run the git commit's version again and again, one run at a time; missed times are not caught up on."""
    from components import remote, runs, schedules

    with said("schedule"):
        trigger = schedules.read_trigger(cron, every)
        orders = runs.read_orders(parameters, name=name, photos=photos, looks=looks, preset=preset, seeds=seeds, set=set_ or [])
        if len(orders) > 1 or not orders[0].name:
            raise ConfigError(f"a schedule has one name and one set of parameters: given {len(orders)}, named {orders[0].name!r}")
        pipeline, server = portraits(accelerator), remote.Server(host)
        typer.echo(f"{orders[0].name}  {schedules.schedule(server, pipeline, accelerator, orders[0], experiment, trigger)}")


schedules_app = typer.Typer(no_args_is_help=True, help="The schedules of an experiment.")
app.add_typer(schedules_app, name="schedules")


@schedules_app.command(name="list")
def list_(host: Host, experiment: Experiment = "magicapture") -> None:
    """Name, time, on or paused, and id of every schedule."""
    from components import remote, schedules

    with said("schedules list"):
        for entry in schedules.listed(remote.Server(host), experiment):
            typer.echo(schedules.describe(entry))


@schedules_app.command()
def pause(name: ScheduleName, host: Host, experiment: Experiment = "magicapture") -> None:
    """Start no more runs; the command `schedule`, given again, resumes."""
    from components import remote, schedules

    with said("schedules pause"):
        schedules.pause(remote.Server(host), experiment, name)


@schedules_app.command()
def delete(name: ScheduleName, host: Host, experiment: Experiment = "magicapture") -> None:
    """Forget a schedule; its runs stay."""
    from components import remote, schedules

    with said("schedules delete"):
        schedules.delete(remote.Server(host), experiment, name)


if __name__ == "__main__":
    app()
