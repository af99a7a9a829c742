"""``magicapture config``, and the documents that are written from the knobs."""

import json
from pathlib import Path

import pytest
import yaml

from magicapture import knobs, options
from magicapture.artifacts import MANIFEST, ArtifactError, writing
from magicapture.cli import app
from magicapture.config import Config, ConfigError, load_config
from magicapture.recipe import Recipe, plan
from tests.cli import ROOT, runner


def _said(*arguments: str) -> str:
    result = runner.invoke(app, ["config", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_show_prints_what_is_in_force(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(_said("show", "--preset", "sd15", "--set", "tuning.steps=9"))
    assert load_config(tmp_path / "mine.yaml") == load_config("sd15", ["tuning.steps=9"])
    shown = json.loads(_said("show", "tuning.lora", "generation.steps", "--json"))
    assert shown == {"tuning.lora.rank": 8, "tuning.lora.alpha": None, "tuning.lora.dropout": 0.0, "generation.steps": 20}
    assert yaml.safe_load(_said("show", "tuning.lora.rank")) == {"tuning": {"lora": {"rank": 8}}}


def test_explain_says_value_range_source_and_advice() -> None:
    text = _said("explain", "tuning.lora.rank", "--set", "tuning.lora.rank=3")
    for part in ("tuning.lora.rank = 3  (default 4)", "whole number, >= 1, <= 512", "source  original", "advice  LoRA rank on UNet"):
        assert part in text
    assert json.loads(_said("explain", "generation.sampler", "--json")) == {
        "value": "dpmpp_2m",
        "name": "generation.sampler",
        "type": "one of euler_ancestral, dpmpp_2m, kdpm2_ancestral, ddim",
        "range": "",
        "default": "euler_ancestral",
        "source": "paper",
        "advice": "By name (paper: Euler ancestral).",
    }
    assert len(json.loads(_said("explain", "tuning.steps", "lora.rank", "--json"))) == 2


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tuning.stepz", "tuning.steps"),
        ("steps", "inversion.steps or tuning.steps or generation.steps"),
        ("lora_rnk", "tuning.lora.rank"),
        ("zzz", ""),
    ],
)
def test_unknown_knobs_name_the_nearest(name: str, near: str) -> None:
    with pytest.raises(ConfigError) as caught:
        knobs.find(name)
    assert (f"did you mean {near}" if near else "config show") in str(caught.value)


def test_diff_of_presets_runs_and_artifacts(tmp_path: Path) -> None:
    changed = json.loads(_said("diff", "mini", "mini-dreambooth", "--json"))
    assert changed["tuning.trainable"] == ["lora", "all"]
    assert "tuning.schedule" in changed and "generation.steps" not in changed
    assert _said("diff", "sd15", "sd15") == ""
    plan(None, Recipe(photos="p", looks="l", out=str(tmp_path / "run")), {}, ["tuning.steps=9"]).begin()
    assert _said("diff", "mini", str(tmp_path / "run")).split() == ["tuning.steps", "320", "->", "9"]
    with writing(tmp_path / "adapter", "adapter/1", config=load_config("mini", ["training.rows=2"]).model_dump(mode="json")):
        pass
    assert _said("diff", "mini", str(tmp_path / "adapter")).split() == ["training.rows", "4", "->", "2"]
    with writing(tmp_path / "prepared", "prepared/1", config=load_config("mini").model_dump(mode="json", include={"pack"})):
        pass
    result = runner.invoke(app, ["config", "diff", "mini", str(tmp_path / "prepared")])
    assert "keeps only pack" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ('{"schema": "tok', ArtifactError, "is damaged"),
        ("[1]", ArtifactError, "expected a manifest of MagiCapture"),
        ('{"schema": "checkpoints/1"}', ConfigError, "keeps no knobs; expected a preset"),
        ('{"schema": "promotion/1", "config": {}}', ConfigError, "keeps no knobs; expected a preset"),
        ('{"schema": "adapter/1", "config": 7}', ConfigError, "keeps no knobs; expected a preset"),
    ],
)
def test_a_folder_that_keeps_no_knobs_is_said(tmp_path: Path, text: str, kind: type[Exception], said: str) -> None:
    (tmp_path / MANIFEST).write_text(text)
    result = runner.invoke(app, ["config", "show", "--preset", str(tmp_path)])
    assert isinstance(result.exception, kind) and said in str(result.exception) and str(tmp_path) in str(result.exception)


def test_every_knob_has_a_source_a_type_and_advice() -> None:
    found = list(knobs.knobs())
    assert len({knob.name for knob in found}) == len(found) > 80
    for knob in found:
        assert knob.type and knob.advice, knob.name
        section, _, leaf = knob.name.rpartition(".")
        kind = Config
        for part in filter(None, section.split(".")):
            kind = kind.model_fields[part].annotation  # type: ignore[assignment]
        assert leaf in kind.model_fields


def test_the_documents_are_current() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == _said("docs"), "magicapture config docs > docs/configuration.md"
    assert options.markdown() == _said("docs", "--options")
    assert options.markdown() in (ROOT / "docs/migrate.md").read_text(), "magicapture config docs --options, into docs/migrate.md"
