"""The portrait pipeline: pictures of a person and of a look in, a registered model version and ranked portraits out.

1. resolve        validate the knobs, hash data and code, open the MLflow run          (never cached)
   unless the champion is of the same lineage:
2. preprocess     photos -> prepared set
   for every seed:
3. inversion      phase 1: the tokens [V1] and [V2]
4. tuning         phase 2: LoRA and tokens
5. generation     prompts x seeds -> pictures
6. postprocessing upscale, restore faces
7. evaluation     scores, ranking, report
8. promotion      the best seed becomes a model version, and champion if it is better  (never cached)
9. close          end the MLflow run with the final status, whatever it is; tell of a failure

    python pipeline.py run --photos data/person --looks data/look --seeds 0,1 --set tuning.steps=80
    python pipeline.py compile --gpu-type nvidia.com/gpu --registry registry.example.org/magicapture --digests images.json
    python pipeline.py submit --host http://kfp.example.org --photos git+https://HOST/p.git@main#subjects/anna --looks ... --wait
    python pipeline.py schedule --host http://kfp.example.org --name nightly --cron "0 0 3 * * *" --photos ... --looks ...
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, List  # kfp reads typing's own List

import typer
from kfp import dsl

from components.close import close
from components.cluster import place
from components.evaluation import evaluation
from components.generation import generation
from components.inversion import inversion
from components.postprocessing import postprocessing
from components.preprocess import preprocess
from components.promotion import promotion
from components.resolve import resolve
from components.tuning import tuning
from components.values import CHECKPOINTS, Cluster, read_cluster
from magicapture.config import ConfigError
from magicapture.exits import explain


def portraits(cluster: Cluster | None = None, parallelism: int = 0) -> dsl.base_component.BaseComponent:
    """The pipeline for a cluster, or for this machine (None); parallelism 0: all seeds at once.

    Raises ConfigError for an image whose digest is not among the cluster's.
    """

    @dsl.pipeline(name="magicapture", description="Personalised portraits of people in looks")
    def magicapture(
        photos: str = "data/person",
        looks: str = "data/look",
        config: str = "mini",
        overrides: List[str] = [],  # noqa: B006  (kfp takes no None here)
        seeds: List[str] = ["0", "1"],  # noqa: B006
        checkpoints: str = CHECKPOINTS,
        always: bool = False,
    ):
        job = dsl.PIPELINE_JOB_ID_PLACEHOLDER
        closing = place(close(job=job), cluster, "close the run", cached=False)
        with dsl.ExitHandler(closing, name="portraits"):
            plan = resolve(photos=photos, looks=looks, config=config, overrides=overrides, seeds=seeds, always=always, job=job)
            place(plan, cluster, "resolve knobs and lineage", cached=False)
            code, data = plan.outputs["code"], plan.outputs["data"]
            # Two faults of kfp.local 2.17: of a task beside it, a condition finds no output that is not called "Output", and a loop takes
            # the item in place of every parameter. So the loop's come from outside the condition.
            with dsl.If(plan.outputs["Output"] == "changed", name="unless nothing changed"):
                ready = preprocess(photos=photos, looks=looks, config=plan.outputs["preprocess"], data=data, code=code)
                place(ready, cluster, "prepare the pictures")
                prepared = ready.outputs["prepared"]
                with dsl.ParallelFor(seeds, name="seeds", parallelism=parallelism) as seed:
                    words = inversion(prepared=prepared, config=plan.outputs["inversion"], seed=seed, checkpoints=checkpoints, code=code)
                    place(words, cluster, "learn the tokens")
                    tuned = tuning(
                        prepared=prepared,
                        tokens=words.outputs["tokens"],
                        config=plan.outputs["tuning"],
                        seed=seed,
                        checkpoints=checkpoints,
                        code=code,
                    )
                    place(tuned, cluster, "tune the adapter")
                    drawn = generation(adapter=tuned.outputs["adapter"], config=plan.outputs["generation"], code=code)
                    place(drawn, cluster, "sample portraits")
                    fine = postprocessing(images=drawn.outputs["images"], config=plan.outputs["postprocessing"], code=code)
                    place(fine, cluster, "upscale and restore")
                    scored = evaluation(
                        portraits=fine.outputs["portraits"], prepared=prepared, config=plan.outputs["evaluation"], code=code
                    )
                    place(scored, cluster, "score and rank")
                chosen = promotion(
                    run=plan.outputs["run"],
                    prepared=prepared,
                    tokens=dsl.Collected(words.outputs["tokens"]),
                    adapter=dsl.Collected(tuned.outputs["adapter"]),
                    images=dsl.Collected(drawn.outputs["images"]),
                    portraits=dsl.Collected(fine.outputs["portraits"]),
                    evaluation=dsl.Collected(scored.outputs["scores"]),
                    config=plan.outputs["evaluation"],
                )
                place(chosen, cluster, "promote the best", cached=False)

    return magicapture


app = typer.Typer(
    add_completion=False, no_args_is_help=True, help="The portrait pipeline: run it here, compile it, or submit it to a cluster."
)
Photos = Annotated[str, typer.Option(help="Folder with pictures of one person, or git+URL@REVISION#FOLDER.")]
Looks = Annotated[str, typer.Option(help="Folder with pictures of one look, or git+URL@REVISION#FOLDER.")]
Preset = Annotated[str, typer.Option(help="Preset name or YAML file of knobs.")]
Set = Annotated[List[str] | None, typer.Option("--set", help="A knob on top of the preset: name=value; may be repeated.")]
Seeds = Annotated[str, typer.Option(help="Training seeds, separated by commas; the best one is promoted.")]
GpuType = Annotated[
    str, typer.Option(help="Kubernetes resource of the GPU tasks, for example nvidia.com/gpu; empty: as the cluster's file.")
]
Values = Annotated[
    Path | None, typer.Option("--cluster", help="YAML of the cluster's values (components/values.py): images, nodes, what stages need.")
]
Always = Annotated[
    bool, typer.Option("--always", help="Run the stages even where the champion is of the same data, knobs, code and seeds.")
]
Host = Annotated[
    str, typer.Option(envvar="KFP_ENDPOINT", help="Address of Kubeflow Pipelines; KFP_EXISTING_TOKEN and KFP_NAMESPACE go with it.")
]
Experiment = Annotated[str, typer.Option(help="Experiment on the server.")]
Parameters = Annotated[
    Path | None,
    typer.Option(
        help="YAML with name, photos, looks, preset, seeds, set, always; what it leaves out is as the options say. A list starts many runs."
    ),
]
ScheduleName = Annotated[str, typer.Argument(help="Name of the schedule.")]


@contextmanager
def said(command: str) -> Iterator[None]:
    """Errors that a person can act on, as one line and exit code 1; a fault of the program is raised as it is."""
    try:
        yield
    except (ConnectionError, RuntimeError) as error:  # of Kubeflow's server, or a stage that failed
        raise SystemExit(f"pipeline.py {command}: {error}") from None
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        raise SystemExit(f"pipeline.py {command}: {message}") from None


@app.command()
def run(
    photos: Photos = "data/person",
    looks: Looks = "data/look",
    preset: Preset = "mini",
    seeds: Seeds = "0,1",
    out: Annotated[Path, typer.Option(help="Where the results are put; caches and stages lie beside it.")] = Path("runs/latest"),
    set_: Set = None,
    always: Always = False,
) -> None:
    """Run on this machine; stages whose data, knobs and code did not change come from the cache, and none runs where nothing changed."""
    from components.local import run_here

    with said("run"):
        run_here(portraits, photos, looks, preset, set_ or [], seeds.split(","), out, always)


@app.command(name="compile")
def compile_(
    out: Annotated[Path, typer.Option(help="YAML to write.")] = Path("pipeline.yaml"),
    gpu_type: GpuType = "",
    gpu_count: Annotated[int | None, typer.Option(help="GPUs of a GPU task (default 1).")] = None,
    registry: Annotated[str, typer.Option(help="Where the images lie, for example registry.example.org/magicapture.")] = "",
    tag: Annotated[str, typer.Option(help="Of the images.")] = "",
    digests: Annotated[
        Path | None, typer.Option(help="Pin the images: YAML of target: sha256:..., or `docker buildx bake`'s metadata file.")
    ] = None,
    cluster: Values = None,
    resources: Annotated[
        str, typer.Option(metavar="NAMESPACE", help="As Pipeline and PipelineVersion for `kubectl apply`, named by the git commit.")
    ] = "",
) -> None:
    """Write the pipeline as YAML for Kubeflow Pipelines; equal sources and values give equal files."""
    from kfp import compiler

    with said("compile"):
        values = read_cluster(cluster, digests, gpu_type=gpu_type, gpu_count=gpu_count, registry=registry, tag=tag)
        if resources:
            from components import remote
            from components.resources import write_resources

            write_resources(portraits(values), remote.version_name(values), resources, out)
        else:
            compiler.Compiler().compile(portraits(values), str(out))
    typer.echo(out)


@app.command()
def submit(
    host: Host,
    name: Annotated[str, typer.Option(help="Name of the run; one that did not fail is not started again. Empty: a new one.")] = "",
    photos: Photos = "",
    looks: Looks = "",
    preset: Preset = "mini",
    seeds: Seeds = "0,1",
    set_: Set = None,
    parameters: Parameters = None,
    always: Always = False,
    gpu_type: GpuType = "",
    cluster: Values = None,
    experiment: Experiment = "magicapture",
    wait: Annotated[
        bool, typer.Option("--wait", help="Say how it goes until the end; exit code 1 unless all succeed. Ctrl-C ends the waiting only.")
    ] = False,
) -> None:
    """Start a run, or many, on a cluster; photos and looks are git+ addresses, or folders that its pods see."""
    from components import remote, runs

    with said("submit"):
        given = dict(name=name, photos=photos, looks=looks, preset=preset, seeds=seeds, set=set_ or [], always=always)
        orders = runs.read_orders(parameters, **given)
        values, started = read_cluster(cluster, gpu_type=gpu_type), {}
        runs.check(orders, values)
        pipeline, server = portraits(values), remote.Server(host)
        for run_name, run_id, new in runs.submit(server, pipeline, orders, experiment, values.service_account):
            started[run_name] = run_id
            typer.echo(f"{run_name}  {runs.address(server, run_id)}{'' if new else '  (there already)'}")
        if wait and not runs.wait(server, started, typer.echo):
            raise SystemExit(1)


@app.command()
def upload(host: Host, gpu_type: GpuType = "", cluster: Values = None) -> None:
    """Put the pipeline on the server as the version named by the git commit; a second time changes nothing."""
    from components import remote

    with said("upload"):
        values, server = read_cluster(cluster, gpu_type=gpu_type), remote.Server(host)
        version = remote.upload(server, portraits(values), values)
        typer.echo(f"{version.display_name}  {server.host}/#/pipelines/details/{version.pipeline_id}/version/{version.pipeline_version_id}")


@app.command()
def schedule(
    host: Host,
    name: Annotated[str, typer.Option(help="Name of the schedule; one of that name is replaced.")],
    cron: Annotated[str | None, typer.Option(help="Six fields, UTC: second minute hour day-of-month month day-of-week.")] = None,
    every: Annotated[str | None, typer.Option(help="Interval instead: 90s, 30m, 12h or 7d.")] = None,
    photos: Photos = "",
    looks: Looks = "",
    preset: Preset = "mini",
    seeds: Seeds = "0,1",
    set_: Set = None,
    parameters: Parameters = None,
    gpu_type: GpuType = "",
    cluster: Values = None,
    experiment: Experiment = "magicapture",
) -> None:
    """Run the git commit's version again and again, one run at a time; missed times are not caught up on."""
    from components import remote, runs, schedules

    with said("schedule"):
        trigger = schedules.read_trigger(cron, every)
        given = dict(name=name, photos=photos, looks=looks, preset=preset, seeds=seeds, set=set_ or [], always=False)
        orders = runs.read_orders(parameters, **given)
        if len(orders) > 1 or not orders[0].name:
            raise ConfigError(f"a schedule has one name and one set of parameters: given {len(orders)}, named {orders[0].name!r}")
        values, server = read_cluster(cluster, gpu_type=gpu_type), remote.Server(host)
        runs.check(orders, values)
        done = schedules.schedule(server, portraits(values), values, orders[0], experiment, trigger)
        typer.echo(f"{orders[0].name}  {done}")


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
