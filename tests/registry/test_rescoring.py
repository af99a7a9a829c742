"""A champion whose scores are of another protocol is drawn and scored again by the real stages: nothing here stands in for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from magicapture import stages
from magicapture.artifacts import read_manifest
from magicapture.config import Config, load_config
from magicapture.registry.gate import read_scores
from magicapture.registry.tracking import Tracker
from tests.test_pipeline import FEW_STEPS, photos  # noqa: F401 (a fixture)


@pytest.mark.timeout(600)
def test_the_champion_meets_the_candidate_on_its_prompts_and_seeds(tracker: Tracker, photos: Path, tmp_path: Path) -> None:  # noqa: F811
    def candidate(name: str, config: Config, seed: int) -> dict[str, Path]:
        out = tmp_path / name
        tokens = stages.invert(prepared, out / "tokens", config, seed, out / "checkpoints")
        adapter = stages.tune(prepared, tokens, out / "adapter", config, seed, out / "checkpoints")
        portraits = stages.postprocess(stages.generate(adapter, out / "images", config), out / "portraits", config)
        evaluation = stages.evaluate(portraits, prepared, out / "evaluation", config)
        return {"prepared": prepared, "tokens": tokens, "adapter": adapter, "portraits": portraits, "evaluation": evaluation}

    first = load_config("mini", [*FEW_STEPS, "generation.seeds=[1, 2]"])
    prepared = stages.preprocess(photos / "person", photos / "look", tmp_path / "prepared", first)
    made = read_manifest(stages.promote([candidate("one", first, 0)], tmp_path / "first", first), "promotion")["content"]
    assert made["version"] == "1"
    tracker.client.set_registered_model_alias(made["model"], "champion", "1")  # whatever the gate said of so few steps

    second = load_config("mini", [*FEW_STEPS, "generation.seeds=[5, 6]"])
    other = candidate("two", second, 1)
    said = read_manifest(stages.promote([other], tmp_path / "second", second), "promotion")["content"]
    assert said["version"] == "2" and "never scored" not in said["reason"] and "failed" not in said["reason"], said["reason"]
    champion = tracker.client.get_model_version(made["model"], "1")
    protocol = read_scores(other["evaluation"]).protocol
    kept = [entry.path for entry in tracker.client.list_artifacts(champion.run_id, f"scores/{protocol}")]
    assert f"scores/{protocol}/scores.json" in kept
    again = read_scores(tracker.client.download_artifacts(champion.run_id, f"scores/{protocol}/scores.json", str(tmp_path)))
    assert {seed for _, seed in again.portraits} == {5, 6}

    # The same portraits as the champion's own adapter gives when it is asked by hand.
    by_hand = stages.score_again(
        tmp_path / "one" / "adapter", prepared, tmp_path / "hand",
        load_config(second, ["evaluation.baseline_images=0"]), *(sorted({row[i] for row in again.portraits}) for i in (0, 1)),
    )  # fmt: skip
    assert read_scores(by_hand).portraits == again.portraits
