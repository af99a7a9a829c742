from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from magicapture import adapters
from magicapture.artifacts import read_manifest
from magicapture.backbones import Backbone, load_backbone
from magicapture.config import Inversion
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.training import inversion, tuning
from tests.training.conftest import tiny_config


def test_the_artifact_holds_tokens_curves_and_what_made_them(tokens: Path, backbone: Backbone) -> None:
    manifest = read_manifest(tokens, "tokens", verify=True)
    learnt = adapters.load_tokens(tokens / "tokens.safetensors")
    assert set(learnt) == {"[V1]", "[V2]"} and all(vector.shape == (16,) and vector.dtype == torch.float32 for vector in learnt.values())
    content = manifest["content"]
    assert content["tensor_hash"] == adapters.tensor_hash(learnt)
    assert content["steps"] == 4 and content["threads"] == 1 and content["machine"]["torch"] == torch.__version__
    assert content["examples_seen"] == 4 * 2
    lines = [json.loads(line) for line in (tokens / "curves.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    assert all(line["phase"] == "inversion" and line["lr"] == 0.01 and {"source", "reference", "total"} <= set(line) for line in lines)
    assert not {"composed", "identity", "attention"} & set(lines[0])  # eq. 9
    for vector in learnt.values():  # 100 x 0.01 pulls all the way
        assert float(vector.norm()) == pytest.approx(backbone.tokens.median_norm, rel=1e-5)


def test_tokens_start_at_the_word_and_gaussian(backbone: Backbone) -> None:
    inversion.add_initial(backbone.tokens, Inversion(), seed=3)
    first = {name: vector.detach().clone() for name, vector in backbone.tokens.vectors.items()}
    assert torch.equal(first["[V1]"], backbone.tokens.vector_of("person"))
    assert 0.3 < float(first["[V2]"].std()) / backbone.tokens.std < 3
    inversion.add_initial(backbone.tokens, Inversion(reference_initialiser="dark"), seed=4)
    assert torch.equal(backbone.tokens.vectors["[V2]"], backbone.tokens.vector_of("dark"))
    inversion.add_initial(backbone.tokens, Inversion(), seed=4)
    assert not torch.equal(backbone.tokens.vectors["[V2]"], first["[V2]"])


@pytest.mark.parametrize(("rate", "share"), [(0.02, 1.0), (0.01, 1.0), (5e-4, 0.05)])
def test_norms_are_pulled_by_the_share_and_directions_kept(rate: float, share: float) -> None:
    vector = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
    inversion.pull_norms([vector], 0.4, rate)
    assert float(vector.detach().norm()) == pytest.approx(5 + share * (0.4 - 5), rel=1e-5)
    torch.testing.assert_close(vector.detach() / vector.detach().norm(), torch.tensor([0.6, 0.8]))


def test_a_second_call_reads_the_checkpoint_and_ends_the_same(prepared: PreparedSet, pack: Pack, tokens: Path, tmp_path: Path) -> None:
    config = tiny_config(pack)
    out = inversion.run(prepared.folder, tmp_path / "tokens", config, 0, tmp_path / "checkpoints")
    again = inversion.run(prepared.folder, tmp_path / "tokens", config, 0, tmp_path / "checkpoints")
    hashes = {read_manifest(folder, "tokens")["content"]["tensor_hash"] for folder in (out, again, tokens)}
    assert len(hashes) == 1
    assert len(list((tmp_path / "checkpoints").glob("inversion-*"))) == 1
    inversion.run(prepared.folder, tmp_path / "other", config, 1, tmp_path / "checkpoints")
    inversion.run(prepared.folder, tmp_path / "other", tiny_config(pack, "inversion.learning_rate=0.02"), 0, tmp_path / "checkpoints")
    assert len(list((tmp_path / "checkpoints").glob("inversion-*"))) == 3  # another seed or knob is another lineage


def test_tokens_of_several_vectors_train_and_come_back(prepared: PreparedSet, pack: Pack, tmp_path: Path) -> None:
    config = tiny_config(pack, "inversion.vectors=2", "inversion.steps=2", "tuning.steps=2", "tuning.sample_every=0", "tuning.samples=1")
    tokens = inversion.run(prepared.folder, tmp_path / "tokens", config, 0, tmp_path / "checkpoints")
    learnt = adapters.load_tokens(tokens / "tokens.safetensors")
    assert sorted(learnt) == ["[V1]", "[V1]_1", "[V2]", "[V2]_1"] and not torch.equal(learnt["[V1]"], learnt["[V1]_1"])
    adapter = tuning.run(prepared.folder, tokens, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")
    backbone = load_backbone(pack)
    adapters.load(adapter, backbone)
    assert backbone.token_positions(["a [V1] person in the [V2] style"], "[V1]").sum() == 2
