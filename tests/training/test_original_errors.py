"""One test for each error of the original code, and each deviation of it from the paper; docs/method.md lists them with the reasons.

Those around training are in ``test_original_stages``.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from magicapture import adapters, references
from magicapture.artifacts import read_manifest
from magicapture.backbones import load_backbone
from magicapture.config import Config
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack, PackError, load_pack, require_independent, trained_against
from magicapture.training import losses, objective, prompts, tuning
from magicapture.training.checkpoints import CheckpointFolder
from magicapture.training.data import Batch, TrainingData, draw_batch
from magicapture.training.session import Session
from magicapture.training.trainer import Recipe, Trainer
from magicapture.training.tuning import build_recipe
from tests.faces import tinypack
from tests.training import tinymodel
from tests.training.conftest import tiny_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def session(make_session: Callable[..., Session], config: Config) -> Session:
    return make_session(config)


@pytest.fixture
def recipe(session: Session, config: Config) -> Recipe:
    return replace(build_recipe(session, config, 0)[0], validate=None)


def draws(data: TrainingData, count: int, rows: int = 1) -> list[Batch]:
    return [draw_batch(data, prompts.KINDS, rows, 1000, torch.Generator().manual_seed(seed), torch.device("cpu")) for seed in range(count)]


def step(session: Session, config: Config, data: TrainingData | None = None) -> dict[str, float]:
    """The losses of one step of phase 2, each of which is a number."""
    recipe = replace(build_recipe(session, config, 0)[0], validate=None)
    line = Trainer(session.backbone, data or session.data, recipe, config.training, 0, session.checkpoints).step(0)
    values = {name: value for name, value in line.items() if isinstance(value, float)}
    assert all(np.isfinite(value) for value in values.values())
    return values


def marker_faces(folder: Path, **pictures: list[tuple[float, float, float, int]]) -> Path:
    """A folder of pictures of 256 px with these faces of ``tinypack``."""
    folder.mkdir()
    for seed, (name, faces) in enumerate(pictures.items()):
        Image.fromarray(tinypack.draw(256, 256, faces, seed)).save(folder / f"{name}.png")
    return folder


def test_attention_refocusing_has_an_equal_nonzero_gradient_under_gradient_checkpointing(session: Session, recipe: Recipe) -> None:
    batch = draws(session.data, 1)[0]

    def gradient(checkpointing: bool) -> list[torch.Tensor]:
        session.backbone.gradient_checkpointing(checkpointing)
        parts = objective.terms(session.backbone, batch, recipe.attention, None)
        vectors = list(session.backbone.tokens.vectors.values())
        return list(
            torch.autograd.grad(parts["attention"], [*recipe.groups[0]["params"], *vectors], allow_unused=True, materialize_grads=True)
        )

    plain, checkpointed = gradient(False), gradient(True)
    assert all(float(vector.abs().max()) > 0 for vector in plain[-2:])
    for a, b in zip(plain, checkpointed, strict=True):
        torch.testing.assert_close(a, b)


def test_each_update_sums_all_three_kinds(recipe: Recipe, session: Session, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = []
    terms = objective.terms
    monkeypatch.setattr(objective, "terms", lambda backbone, batch, *rest: kinds.append(batch.kinds) or terms(backbone, batch, *rest))
    trainer = Trainer(session.backbone, session.data, recipe, config.training, 0, session.checkpoints)
    line = trainer.step(0)
    assert kinds == [("source", "reference", "composed")]
    wanted = line["source"] + 2 * (line["reference"] + line["composed"]) + 0.25 * line["identity"] + 2.5 * line["attention"]
    assert line["total"] == pytest.approx(wanted, rel=1e-5)


def test_accumulation_happens_and_no_learning_rate_is_multiplied_by_it(
    make_session: Callable[..., Session], pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(pack, "training.accumulation=3")
    passes = []
    terms = objective.terms
    monkeypatch.setattr(objective, "terms", lambda *inputs: passes.append(1) or terms(*inputs))
    assert step(make_session(config), config)["lr"] == config.tuning.learning_rate and len(passes) == 3


def test_one_pass_of_the_network_serves_every_term(session: Session, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    predict = session.backbone.predict
    monkeypatch.setattr(session.backbone, "predict", lambda *inputs: rows.append(len(inputs[0])) or predict(*inputs))
    assert {*prompts.KINDS, "identity", "attention"} <= set(step(session, config)) and rows == [3]


def test_no_face_is_detected_in_a_step(session: Session, pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config(pack, "tuning.identity_limit=1")
    monkeypatch.setattr(FaceDetector, "detect", lambda *_: pytest.fail("a face was sought"))
    assert step(session, config)["identity"] > 0


def test_phase_1_keeps_gradients_and_state_of_the_tokens_alone(tokens: Path, session: Session) -> None:
    (folder,) = (tokens.parent / "checkpoints").glob("inversion-*/checkpoints")
    found = CheckpointFolder(folder).latest()
    assert found is not None
    state, width = found.tensors["optimiser"], session.backbone.tokens.width
    assert [state[f"{i}.{name}"].shape for i in (0, 1) for name in ("exp_avg", "exp_avg_sq")] == [(width,)] * 4
    assert sum(value.numel() for value in state.values()) == 4 * width + 2  # and two counts of steps
    assert not session.backbone.tokens.embedding.weight.requires_grad


def test_a_stopped_run_goes_on_from_its_checkpoint(make_session: Callable[..., Session], config: Config) -> None:
    def trained(folder: str, *stops: int) -> str:
        for stop in stops:
            session = make_session(config, folder=folder)
            recipe = replace(build_recipe(session, config, 0)[0], validate=None)
            assert Trainer(session.backbone, session.data, recipe, config.training, 0, session.checkpoints).run(stop).step == stop
        return adapters.tensor_hash(adapters.tensors(session.backbone))

    assert trained("parts", 2, 3) == trained("whole", 3)


def test_weights_need_not_be_fp32(pack: Pack) -> None:
    backbone = load_backbone(pack, precision="bf16")
    assert {parameter.dtype for parameter in backbone.unet.parameters()} == {torch.bfloat16}


def test_no_row_of_the_vocabulary_is_trained_and_the_saved_adapter_is_the_trained_one(
    recipe: Recipe, session: Session, config: Config, tmp_path: Path
) -> None:
    matrix = session.backbone.tokens.embedding.weight
    before = matrix.detach().clone()
    trainer = Trainer(session.backbone, session.data, recipe, config.training, 0, session.checkpoints)
    trainer.run(2)
    assert torch.equal(matrix, before) and all(parameter is not matrix for parameter in trainer.parameters)
    assert (
        sum(vector.numel() for vector in recipe.groups[2]["params"]) == 2 * session.backbone.tokens.width
        and recipe.groups[2]["weight_decay"] == 0
    )
    adapters.save(tmp_path / "adapter", session.backbone)
    fresh = load_backbone(session.pack)
    adapters.load(tmp_path / "adapter", fresh)
    prompt = [prompts.DEFAULT_PROMPT]
    with torch.no_grad():
        assert torch.equal(fresh.encode_prompts(prompt).sequence, session.backbone.encode_prompts(prompt).sequence)


def test_reconstruction_timesteps_cover_the_full_range(data: TrainingData) -> None:
    steps = torch.stack([batch.timesteps for batch in draws(data, 600)]).numpy()  # columns: source, reference, composed
    assert (steps.min(axis=0) < 20).all() and (steps.max(axis=0) > 979).all()
    assert (np.abs((steps >= 800).mean(axis=0) - 0.2) < 0.06).all()


def test_identity_is_of_composed_rows_alone_and_counted_once(recipe: Recipe, session: Session) -> None:
    batch = replace(draws(session.data, 1)[0], timesteps=torch.tensor([10, 10, 10]))
    seen = []

    class Spy:
        backbone, counted = session.backbone, staticmethod(recipe.identity.counted)  # type: ignore[union-attr]

        def __call__(self, clean: torch.Tensor, keypoints: torch.Tensor, subjects: list[int]) -> torch.Tensor:
            seen.append(keypoints)
            return torch.full((len(clean),), 0.8)

    parts = objective.terms(session.backbone, batch, None, Spy())  # type: ignore[arg-type]
    assert len(seen) == 1 and torch.equal(seen[0], batch.keypoints[2:])
    assert parts["identity"].item() == pytest.approx(0.8 * 1000 / 800)
    with_term, without = objective.total(parts, {"identity": 0.25}), objective.total(parts, {"identity": 0.0})
    assert (with_term - without).item() == pytest.approx(0.25 * parts["identity"].item(), rel=1e-4)


def test_attention_maps_are_squared_before_they_are_averaged() -> None:
    maps = torch.zeros(1, 2, 2, 2)
    maps[0, 0, 0, 1] = maps[0, 1, 1, 1] = 1  # two heads look at two different places outside
    mask = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    assert losses.attention_refocusing(maps, mask).item() == pytest.approx(0.25)  # averaged first it would be 0.125


def test_a_flat_attention_map_is_zero_with_a_finite_gradient() -> None:
    maps = torch.full((1, 2, 4, 4), 1 / 77, requires_grad=True)
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., 0, 0] = 1
    value = losses.attention_refocusing(maps, mask)
    value.sum().backward()
    assert value.item() == 0 and maps.grad is not None and torch.isfinite(maps.grad).all()


def test_area_normalisation_is_by_row() -> None:
    mask = torch.zeros(2, 1, 10, 10)
    mask[0, 0, :1] = 1  # areas .1 and .9
    mask[1, 0, :9] = 1
    error = torch.ones(2, 4, 10, 10)
    plain = (error * mask).mean(dim=(1, 2, 3))
    factor = losses.masked_reconstruction(error, torch.zeros_like(error), mask) / plain
    assert factor.tolist() == pytest.approx([10, 1 / 0.9], rel=1e-4)


def test_prior_preservation_does_not_crash(make_session: Callable[..., Session], pack: Pack) -> None:
    config = tiny_config(pack, "tuning.lambda_prior=2", "tuning.class_prompt=a photo of a person", "tuning.class_images=2")
    session = make_session(config)
    line = step(session, config, tuning.training_rows(session, config))
    masked = line["source"] + 2 * (line["reference"] + line["composed"]) + 0.25 * line["identity"] + 2.5 * line["attention"]
    assert line["prior"] > 0 and line["total"] == pytest.approx(masked + 2 * line["prior"], rel=1e-5)


def test_v_prediction_models_get_their_own_estimate(tmp_path: Path, session: Session, prepared: PreparedSet, latents: Path) -> None:
    assert session.backbone.prediction_type == "v_prediction"
    batch = draws(session.data, 1)[0]
    schedule = session.backbone.schedule
    noisy = schedule.add_noise(batch.clean, batch.noise, batch.timesteps)
    velocity = schedule.get_velocity(batch.clean, batch.noise, batch.timesteps)
    alphas = schedule.alphas_cumprod[batch.timesteps]
    torch.testing.assert_close(losses.predicted_clean(noisy, velocity, alphas, "v_prediction"), batch.clean, rtol=1e-3, atol=1e-3)
    epsilon = load_backbone(load_pack(tinymodel.build_pack(tmp_path / "pack", "epsilon")))
    for token, vector in session.backbone.tokens.vectors.items():
        epsilon.tokens.add(token, vector)
    parts = objective.terms(epsilon, batch, None, None)  # the noise is the target there
    with torch.no_grad():
        prediction = epsilon.predict(noisy, batch.timesteps, epsilon.encode_prompts(batch.prompts))
    wanted = losses.masked_reconstruction(prediction, batch.noise, objective.regions(batch))
    torch.testing.assert_close(torch.stack([parts[kind] for kind in prompts.KINDS]), wanted)


def test_global_generators_of_python_numpy_and_torch_decide_nothing(make_session: Callable[..., Session], config: Config) -> None:
    def trained(seed: int) -> str:
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        session = make_session(config, folder=f"run{seed}")
        recipe = replace(build_recipe(session, config, 0)[0], validate=None)
        Trainer(session.backbone, session.data, recipe, config.training, 0, session.checkpoints).run(2)
        return adapters.tensor_hash(adapters.tensors(session.backbone))

    assert trained(1) == trained(2)


def test_cached_latents_still_vary_in_jitter_flip_sample_and_prompt(data: TrainingData) -> None:
    batches = draws(data, 60)
    mean = [float((example.mean[i] - example.mean[j]).abs().max()) for example in data.source for i in range(4) for j in range(i)]
    assert min(mean) > 1e-3  # four versions, all different
    assert len({float(batch.clean[0].sum()) for batch in batches}) == 60
    for row, kind in enumerate(prompts.KINDS):
        assert len({batch.prompts[row] for batch in batches}) == len(prompts.TEMPLATES[kind])
    assert len({tuple(batch.face[0].flatten().tolist()) for batch in batches}) > len(data.source)  # mirrored ones too


def test_no_template_says_painting_and_the_recommended_prompt_is_trained(config: Config) -> None:
    assert not any("painting" in template for templates in prompts.TEMPLATES.values() for template in templates)
    assert set(Config().generation.prompts) <= set(prompts.TEMPLATES["composed"])


def test_the_mask_and_the_identity_are_of_one_face(make_session: Callable[..., Session], pack: Pack, tmp_path: Path) -> None:
    """The largest face is not the most central one: mask, key points (from which identity is cropped) and embedding are all its own."""
    large, central = (64, 160, 116, 0), (160, 80, 52, 1)
    photos = marker_faces(tmp_path / "photos", one=[(128, 128, 116, 0)], other=[(128, 128, 116, 1)], two=[large, central])
    looks = marker_faces(tmp_path / "looks", look=[(128, 128, 116, 2)])
    config = tiny_config(pack, "preprocess.second_face=0.6", "preprocess.same_person=-1")
    prepared = PreparedSet.load(references.run(photos, looks, tmp_path / "prepared", config))
    assert [item.name for item in prepared.source] == ["one.png", "other.png", "two.png"]
    item, of_central = prepared.source[2], np.s_[8:12, 18:22]
    assert (item.parsing()[of_central] == 1).all() and not item.mask()[:, 17:].any() and item.mask()[20, 8]
    for role in ("recogniser", "judge"):
        one, other, two = prepared.embeddings(role)
        assert two @ one > 0.8 > 0.5 > two @ other
    for example in make_session(config, on=prepared).data.source:
        assert example.keypoints is not None
        for face, points in zip(example.face, example.keypoints, strict=True):  # as it is and mirrored
            assert all(face[0, int(y), int(x)] == 1 for x, y in points.tolist())


def test_pictures_without_a_face_crash_nothing(make_session: Callable[..., Session], pack: Pack, tmp_path: Path) -> None:
    face = [(128, 128, 116, 0)]
    photos = marker_faces(tmp_path / "photos", a=face, b=[(96, 128, 116, 0)], nobody=[])
    looks = marker_faces(tmp_path / "looks", a=face, scene=[])
    config = tiny_config(pack, "training.rows=2")  # both looks in every step
    prepared = PreparedSet.load(references.run(photos, looks, tmp_path / "prepared", config))
    (aside,) = prepared.set_aside
    assert aside["name"] == "nobody.png" and "no face found" in aside["reason"]
    assert [item.keypoints is None for item in prepared.reference] == [False, True]
    assert step(make_session(config, on=prepared), config)["reference"] > 0


def test_checkpoints_and_adapters_hold_no_pickle(adapter: Path) -> None:
    for folder in (adapter, adapter.parent / "checkpoints"):
        assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {".safetensors", ".json", ".jsonl", ".png"}


def test_nothing_is_patched_into_the_network_and_no_anomaly_detection_is_on(recipe: Recipe, session: Session, config: Config) -> None:
    processors = dict(session.backbone.unet.attn_processors)
    Trainer(session.backbone, session.data, recipe, config.training, 0, session.checkpoints).step(0)
    assert all(session.backbone.unet.attn_processors[name] is processor for name, processor in processors.items())
    assert not any(module._forward_hooks for module in session.backbone.unet.modules())
    assert not torch.is_anomaly_enabled()


def test_larger_batches_train(make_session: Callable[..., Session], pack: Pack) -> None:
    config = tiny_config(pack, "training.rows=3")
    assert step(make_session(config), config)["total"] > 0


def test_the_judge_is_not_the_network_trained_against(
    adapter: Path, prepared: PreparedSet, tokens: Path, pack: Pack, tmp_path: Path
) -> None:
    assert require_independent(pack, read_manifest(adapter, "adapter")["content"]["recogniser"]) == []
    folder = shutil.copytree(pack.folder, tmp_path / "pack")
    content = yaml.safe_load((folder / "pack.yaml").read_text())
    content["roles"]["judge"] = content["roles"]["recogniser"]
    (folder / "pack.yaml").write_text(yaml.safe_dump(content))
    same = load_pack(folder)
    one = r"judge \(faces/recogniser.onnx\) and the network trained against"
    with pytest.raises(PackError, match=one):
        require_independent(same, trained_against(same, "recogniser"))
    with pytest.raises(PackError, match=one):
        tuning.run(prepared.folder, tokens, tmp_path / "adapter", tiny_config(same), 0, tmp_path / "checkpoints")
    assert not (tmp_path / "adapter").exists()
