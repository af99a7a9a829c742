"""Two people really trained, registered and served, with the embedded pack in a few steps; one is erased, the other goes on."""

from __future__ import annotations

import io
from pathlib import Path

import mlflow.pyfunc
import numpy as np
import pytest
from PIL import Image

from magicapture import stages
from magicapture.artifacts import read_manifest
from magicapture.config import Config, load_config
from magicapture.purge import erase, find
from magicapture.registry.tracking import Tracker
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from tests.purge.people import HE, SHE, bytes_with, tree

FEW = (
    "inversion.steps=1", "tuning.steps=2", "tuning.sample_every=0", "tuning.samples=1", "generation.steps=1", "generation.seeds=[1000]",
    "evaluation.baseline_images=1", "training.threads=1", "training.augment.versions=1",
)  # fmt: skip


def train(name: str, seed: int, config: Config) -> dict[str, Path]:
    """What `magicapture train photos/NAME photos/look --out runs/NAME --register` does, with checkpoints that both share."""
    photos, out, checkpoints = Path("photos"), Path("runs") / name, Path("runs/checkpoints")
    for folder, count in ((name, 2), ("look", 1)):
        (photos / folder).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            who, look = (Person.sample(seed), Look.sample(seed + i)) if folder == name else (Person.sample(50), Look.sample(5))
            Image.fromarray(render(who, look, Nuisance.sample(i), size=128).image).save(photos / folder / f"{i}.png")
    made = {"prepared": stages.preprocess(photos / name, photos / "look", out / "prepared", config)}
    made["tokens"] = stages.invert(made["prepared"], out / "tokens", config, 0, checkpoints)
    made["adapter"] = stages.tune(made["prepared"], made["tokens"], out / "adapter", config, 0, checkpoints)
    made["images"] = stages.generate(made["adapter"], out / "images", config)
    made["portraits"] = stages.postprocess(made["images"], out / "portraits", config)
    made["evaluation"] = stages.evaluate(made["portraits"], made["prepared"], out / "evaluation", config)
    made["promotion"] = stages.promote([made], out / "promotion", config)
    return made


@pytest.mark.timeout(1800)
def test_one_is_erased_and_the_other_goes_on(sqlite: Path, tracker: Tracker) -> None:
    here = sqlite.parent
    config = load_config("mini", FEW)
    for name, seed in ((HE, 8), (SHE, 7)):
        made = train(name, seed, load_config(config, [f"promotion.style={name[::-1]}"]))
        for kind, folder in made.items():
            assert {*read_manifest(folder, kind)["subjects"]} == {name}, kind  # by the folder of the photos alone
    latents = here / "runs" / "checkpoints" / "latents"
    assert len(list(latents.iterdir())) == 5  # two photos of each and the look that both share
    before = tree(here)
    plan = find(SHE, [here / "runs", here / "photos"])
    assert tree(here) == before
    hers = {before[str(path)] for own in plan.paths for path in ([own] if own.is_file() else own.rglob("*")) if path.is_file()}
    report = erase(plan)
    assert report.left == [] and bytes_with(SHE, here) == []
    after = tree(here)
    assert hers & {*after.values()} <= {
        before[path] for path in before if HE in path or "look" in path
    }  # pictures of the look, of the base
    assert len(list(latents.iterdir())) == 3
    assert all(after.get(path) == digest for path, digest in before.items() if HE in path and ".lock" not in path)

    his = Path("runs") / HE
    again = stages.evaluate(his / "portraits", his / "prepared", Path("again"), config)
    assert read_manifest(again, "evaluation")["content"]["best"]
    stages.tune(his / "prepared", his / "tokens", Path("resumed"), config, 0, Path("runs/checkpoints"))
    model = mlflow.pyfunc.load_model(f"models:/magicapture.subject.{HE[::-1]}/1")  # in so few steps none is fit to be champion
    (picture,) = model.predict(["a photo of a [V1] person in the [V2] style"])
    assert np.array(Image.open(io.BytesIO(picture))).ndim == 3
