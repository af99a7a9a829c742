"""Several subjects and looks: every concept is served, every row is held to its own."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from magicapture import adapters
from magicapture.artifacts import read_manifest
from magicapture.backbones import load_backbone
from magicapture.config import Config
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.training import inversion, losses, objective, tuning
from magicapture.training.data import TrainingData, draw_batch
from magicapture.training.session import Session
from magicapture.training.validation import FaceScore, Validation
from tests.training import tinymodel
from tests.training.conftest import tiny_config

KINDS = ("source", "reference", "composed")
SUBJECTS, LOOKS = ("[V1:ann]", "[V1:bob]"), ("[V2:gala]", "[V2:noir]")


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory) -> PreparedSet:
    return PreparedSet.load(tinymodel.build_several(tmp_path_factory.mktemp("several") / "prepared"))


@pytest.fixture
def session(make_session: Callable[..., Session], config: Config, several: PreparedSet) -> Session:
    return make_session(config, on=several)


def owner(data: TrainingData, latent: torch.Tensor, kind: str) -> int:
    """The concept of the picture whose latent (without noise of its own) a row shows."""
    return next(example.concept for example in data.of(kind) if any(torch.equal(mean, latent) for mean in example.mean))


@pytest.mark.parametrize("composed", ["reference", "source"])
@pytest.mark.parametrize("source_composed", [0.0, 1.0])
def test_a_row_is_called_by_what_it_shows_and_by_one_drawn_concept_of_the_other_side(
    session: Session, composed: str, source_composed: float
) -> None:
    source, reference = (
        tuple(replace(example, std=torch.zeros_like(example.std)) for example in session.data.of(kind)) for kind in KINDS[:2]
    )
    data = replace(session.data, source=source, reference=reference, composed=composed, source_composed=source_composed)
    assert (data.subjects, data.looks) == (SUBJECTS, LOOKS)
    pairs: Counter[tuple[int, int]] = Counter()
    for seed in range(60):
        batch = draw_batch(data, KINDS, 2, 1000, torch.Generator().manual_seed(seed), torch.device("cpu"))
        for row, kind in enumerate(batch.kinds):
            subject, look = SUBJECTS[batch.subjects[row]], LOOKS[batch.looks[row]]
            says = {"source": [subject, look] if source_composed else [subject], "reference": [look], "composed": [subject, look]}[kind]
            named = [token for token in (*SUBJECTS, *LOOKS) if token in batch.prompts[row]]
            assert named == says and "[V1]" not in batch.prompts[row] and "[V2]" not in batch.prompts[row]
            shown = owner(data, batch.clean[row], kind)
            photo = composed if kind == "composed" else kind
            assert shown == (batch.subjects if photo == "source" else batch.looks)[row]
        for kind in KINDS:  # two rows of a kind show both concepts, although ann has one photo and bob three
            own = batch.subjects if (composed if kind == "composed" else kind) == "source" else batch.looks
            assert sorted(own[row] for row in batch.rows(kind)) == [0, 1]
        pairs.update((batch.subjects[row], batch.looks[row]) for row in batch.rows("composed"))
    assert len(pairs) == 4 and min(pairs.values()) > 15


def test_with_one_row_a_kind_concepts_are_drawn_equally_often(session: Session) -> None:
    drawn = Counter(
        draw_batch(session.data, ("source",), 1, 1000, torch.Generator().manual_seed(seed), torch.device("cpu")).subjects[0]
        for seed in range(200)
    )
    assert drawn[0] == pytest.approx(100, abs=30)


def test_identity_and_attention_hold_every_row_to_its_own(session: Session, config: Config) -> None:
    recipe = tuning.build_recipe(session, config, 0)[0]
    assert recipe.identity is not None and recipe.identity.person.shape == (2, 128) and recipe.attention is not None
    # Faces of random pictures all look alike to a random network: two people who do not.
    recipe.identity.person = torch.nn.functional.normalize(torch.randn((2, 128), generator=torch.Generator().manual_seed(0)), dim=-1)
    backbone = session.backbone
    batch = draw_batch(session.data, KINDS, 2, 1000, torch.Generator().manual_seed(0), torch.device("cpu"))
    batch = replace(batch, timesteps=torch.full((6,), 300), subjects=(*batch.subjects[:4], 0, 1))
    parts = objective.terms(backbone, batch, recipe.attention, recipe.identity)
    with torch.no_grad():
        noisy = backbone.schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
        with recipe.attention.recording():
            prediction = backbone.predict(noisy, batch.timesteps, backbone.encode_prompts(batch.prompts))
        alphas = backbone.schedule.alphas_cumprod[batch.timesteps]
        clean = losses.predicted_clean(noisy, prediction, alphas, "v_prediction")[4:]
        both = torch.stack([recipe.identity(clean, batch.keypoints[4:], [person] * 2) for person in (0, 1)])
        torch.testing.assert_close(parts["identity"], (both[0, 0] + both[1, 1]) / 2 * 1000 / 800, rtol=1e-4, atol=1e-5)
        assert (both[0] - both[1]).abs().min() > 1e-3
        wanted = []
        for row, prompt in enumerate(batch.prompts):
            own = []
            for tokens, mask in ((SUBJECTS, batch.face[row]), (LOOKS, 1 - batch.face[row])):
                for token in (token for token in tokens if token in prompt):
                    maps = recipe.attention.of(backbone.token_positions(batch.prompts, token)[:, None])[row, 0]
                    own.append(losses.attention_refocusing(maps[None], mask[None])[0])
            wanted.append(torch.stack(own).mean())
        torch.testing.assert_close(parts["attention"], torch.stack(wanted).mean())


def test_each_subjects_embedding_is_of_its_own_photos(session: Session, config: Config, several: PreparedSet) -> None:
    recipe = tuning.build_recipe(session, config, 0)[0]
    assert recipe.identity is not None
    alone = [tuning.embed_person(recipe.identity.recogniser, several.of([token]).source) for token in SUBJECTS]
    torch.testing.assert_close(recipe.identity.person, torch.nn.functional.normalize(torch.stack(alone), dim=-1))


def test_validation_samples_every_pair_and_judges_it_by_its_subject(
    session: Session, pack: Pack, several: PreparedSet, config: Config, tmp_path: Path
) -> None:
    validation = Validation(session.backbone, pack, several, config, tmp_path / "samples")  # two samples wanted, four pairs
    assert validation.pairs == [(0, 0), (0, 1), (1, 0), (1, 1)] and len(set(validation.seeds)) == 4
    for prompt, (subject, look) in zip(validation.prompts, validation.pairs, strict=True):
        assert SUBJECTS[subject] in prompt and LOOKS[look] in prompt
    score = validation.score
    assert isinstance(score, FaceScore)
    assert np.allclose(score.people, [np.eye(4)[0], np.eye(4)[1:].sum(axis=0) / np.sqrt(3)])
    assert validation.sample().shape[0] == 4


def test_both_phases_end_to_end(several: PreparedSet, pack: Pack, prepared: PreparedSet, tokens: Path, tmp_path: Path) -> None:
    config = tiny_config(pack, "inversion.vectors=2", "inversion.steps=2", "tuning.steps=2", "tuning.sample_every=0", "training.rows=2")
    learnt = inversion.run(several.folder, tmp_path / "tokens", config, 0, tmp_path / "checkpoints")
    vectors = adapters.load_tokens(learnt / "tokens.safetensors")
    assert set(vectors) == {part for token in (*SUBJECTS, *LOOKS) for part in (token, f"{token}_1")}
    assert not torch.equal(vectors[SUBJECTS[0]], vectors[SUBJECTS[1]])  # both began at the same word
    adapter = tuning.run(several.folder, learnt, tmp_path / "adapter", config, 0, tmp_path / "checkpoints")
    content = read_manifest(adapter, "adapter", verify=True)["content"]
    assert content["descriptions"] == {"source:ann": "a person with light skin"}
    assert len(list((adapter / "samples").iterdir())) == 4 and (adapter / "attention" / "composed-v2.png").is_file()
    assert all(np.isfinite(json.loads(line)["total"]) for line in (adapter / "curves.jsonl").read_text().splitlines())
    backbone = load_backbone(pack)
    adapters.load(adapter, backbone)
    couple = "a [V1:ann] person and a [V1:bob] person in the [V2:noir] style"
    assert [int(backbone.token_positions([couple], token).sum()) for token in (*SUBJECTS, *LOOKS)] == [2, 2, 0, 2]
    with pytest.raises(ValueError, match=r"tokens .* hold \[V1\], \[V2\], but .* shows \[V1:ann\], .*\[V2:noir\]; run inversion on this"):
        tuning.run(several.folder, tokens, tmp_path / "wrong", tiny_config(pack), 0, tmp_path / "checkpoints")


def test_several_things_take_on_their_own_look(pack: Pack, tmp_path: Path, latents: Path) -> None:
    from magicapture.backbones.structure import load_structure
    from magicapture.packs import load_pack
    from magicapture.training.structure import Structure, mean_cls
    from tests.backbones import tinyvit

    things = PreparedSet.load(tinymodel.build_several(tmp_path / "things", faces=False))
    own = load_pack(tinyvit.add_role(tinymodel.build_pack(tmp_path / "pack")))
    net, backbone = load_structure(own), load_backbone(own)
    looks = torch.stack([mean_cls(net, [item.image() for item in things.of([token]).reference]) for token in LOOKS])
    structure = Structure(backbone, net, looks, 0.8)
    latent = torch.randn((1, 4, 16, 16), generator=torch.Generator().manual_seed(0)).expand(2, -1, -1, -1)
    with torch.no_grad():
        first, second = structure(latent, latent, [0, 1])["appearance"], structure(latent, latent, [1, 0])["appearance"]
        alone = Structure(backbone, net, looks[1], 0.8)(latent, latent)["appearance"]
    torch.testing.assert_close(first, second.flip(0))
    torch.testing.assert_close(first[1], alone[0])
    assert float((first[0] - first[1]).abs()) > 0


def test_attention_is_drawn_on_a_picture_of_every_concept_under_its_own_tokens(several: PreparedSet) -> None:
    composed = np.full((32, 32, 3), 7, np.uint8)
    shown = tuning._shown(several, composed)
    assert {name: pair for name, (_, pair) in shown.items()} == {
        "source-ann": ("[V1:ann]", "[V2:gala]"), "source-bob": ("[V1:bob]", "[V2:gala]"),
        "reference-gala": ("[V1:ann]", "[V2:gala]"), "reference-noir": ("[V1:ann]", "[V2:noir]"),
        "composed": ("[V1:ann]", "[V2:gala]"),
    }  # fmt: skip
    for name, item in {"source-bob": several.of(["[V1:bob]"]).source[0], "reference-noir": several.of(["[V2:noir]"]).reference[0]}.items():
        assert np.array_equal(shown[name][0], item.image())
