from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from magicapture.backbones import Backbone
from magicapture.config import Augment
from magicapture.faces.prepared import PreparedItem, PreparedSet
from magicapture.packs import Pack
from magicapture.training.data import Batch, TrainingData, draw_batch, load_training_data
from tests.training import tinymodel

KINDS = ("source", "reference", "composed")


def draw(data: TrainingData, seed: int, rows: int = 2) -> Batch:
    return draw_batch(data, KINDS, rows, 1000, torch.Generator().manual_seed(seed), torch.device("cpu"))


def signatures(folder: Path) -> list[str]:
    """Whose the cached latents say that they are, sorted."""
    found = []
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found.append(str(json.loads(file.metadata()["subjects"])))
    return sorted(found)


def test_every_version_has_its_latents_masks_and_key_points(data: TrainingData, prepared: PreparedSet, backbone: Backbone) -> None:
    example, item = data.source[0], prepared.source[0]
    assert example.mean.shape == example.std.shape == (4, 4, 16, 16)
    plain = torch.from_numpy(item.image()).permute(2, 0, 1)[None] / 127.5 - 1
    with torch.no_grad():
        torch.testing.assert_close(example.mean[:1], backbone.encode_images(plain), rtol=1e-4, atol=1e-5)
    assert np.array_equal(example.face[0, 0].numpy() > 0, item.mask())
    assert np.array_equal(example.face[1, 0].numpy() > 0, item.mask()[:, ::-1])
    assert example.keypoints is not None and item.keypoints is not None
    assert np.allclose(example.keypoints[0], item.keypoints)
    assert np.allclose(example.keypoints[1, 0], item.keypoints[1] * (-1, 1) + (32, 0))


def test_the_posterior_stays_random(data: TrainingData) -> None:
    assert all(float(example.std.min()) > 0 for example in (*data.source, *data.reference))
    batches = [draw(data, seed, rows=3) for seed in range(3)]
    assert len({float(batch.clean.sum()) for batch in batches}) == 3


def test_rows_stand_kind_after_kind_and_composed_rows_show_reference_pictures(data: TrainingData) -> None:
    batch = draw(data, 0)
    assert batch.kinds == ("source", "source", "reference", "reference", "composed", "composed")
    assert batch.rows("source", "composed") == [0, 1, 4, 5]
    for row, kind in enumerate(batch.kinds):
        distances = {
            name: min(float((example.mean - batch.clean[row]).square().mean(dim=(1, 2, 3)).min()) for example in data.of(name))
            for name in ("source", "reference")
        }
        assert min(distances, key=distances.__getitem__) == ("source" if kind == "source" else "reference")
        assert ("[V1]" in batch.prompts[row]) == (kind != "reference") and ("[V2]" in batch.prompts[row]) == (kind != "source")


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_source_rows_under_composed_prompts_are_still_source_photos(data: TrainingData, share: float) -> None:
    mixed = replace(data, source_composed=share)
    called = []
    for seed in range(20):
        batch = draw(mixed, seed, rows=3)
        assert [("[V2]" in batch.prompts[row], "[V1]" in batch.prompts[row]) for row in batch.rows("reference")] == [(True, False)] * 3
        for row in batch.rows("source"):
            assert "[V1]" in batch.prompts[row]
            assert any(torch.equal(batch.face[row], face) for example in data.source for face in example.face)
            called.append("[V2]" in batch.prompts[row])
    assert np.mean(called) == pytest.approx(share, abs=0.2)


def test_rows_of_a_kind_show_different_pictures_while_there_are_enough(data: TrainingData) -> None:
    for seed in range(10):
        batch = draw(data, seed, rows=3)
        assert len({tuple(points.flatten().tolist()) for points in batch.keypoints[:3]}) == 3
    assert len(draw(data, 0, rows=7).kinds) == 21  # more rows than pictures: they repeat


def test_a_batch_is_a_function_of_its_generator_alone(data: TrainingData) -> None:
    first = draw(data, 5)
    torch.manual_seed(1)
    np.random.seed(1)
    again, other = draw(data, 5), draw(data, 6)
    assert torch.equal(first.clean, again.clean) and torch.equal(first.noise, again.noise) and first.prompts == again.prompts
    assert torch.equal(first.timesteps, again.timesteps) and not torch.equal(first.timesteps, other.timesteps)


def test_the_cache_is_read_again_by_content_not_by_place(
    prepared: PreparedSet, pack: Pack, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    augment = Augment(versions=2)
    first = load_training_data(prepared, pack, backbone, augment, tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) == 6
    turned = PreparedSet(prepared.folder, prepared.resolution, prepared.source[::-1], prepared.reference, manifest=prepared.manifest)
    monkeypatch.setattr(backbone.vae, "encode", lambda *_: pytest.fail("encoded although cached"))
    second = load_training_data(turned, pack, backbone, augment, tmp_path)
    assert all(torch.equal(a.mean, b.mean) and torch.equal(a.std, b.std) for a, b in zip(first.source, second.source[::-1], strict=True))


def test_cached_latents_say_whose_photo_they_are_of(prepared: PreparedSet, pack: Pack, backbone: Backbone, tmp_path: Path) -> None:
    """Those of a look are nobody's."""
    manifest = {**prepared.manifest, "subjects": {"ann": ["s0", "s1"], "both": ["s0", "s1", "s2"]}}
    load_training_data(replace(prepared, manifest=manifest), pack, backbone, Augment(versions=1), tmp_path)
    photos = [{"ann": ["s0"], "both": ["s0"]}, {"ann": ["s1"], "both": ["s1"]}, {"both": ["s2"]}]
    assert signatures(tmp_path) == sorted(map(str, [*photos, {}, {}, {}]))


def test_pictures_given_as_looks_before_are_the_persons_once_they_are_given_as_photos(
    prepared: PreparedSet, pack: Pack, backbone: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`train LOOKS PHOTOS`, and then the right way round with the same --out: `magicapture purge` has to find all of the person's."""
    own = [replace(item, sha256=f"{name}{i}") for name in "sr" for i, item in enumerate((prepared.source, prepared.reference)[name == "r"])]

    def load(source: list[PreparedItem], reference: list[PreparedItem], name: str) -> TrainingData:
        manifest = {**prepared.manifest, "subjects": {name: [item.sha256 for item in source]}}
        given = replace(prepared, source=tuple(source), reference=tuple(reference), manifest=manifest)
        return load_training_data(given, pack, backbone, Augment(versions=1), tmp_path)

    swapped = load(own[3:], own[:3], "noir")
    monkeypatch.setattr(backbone.vae, "encode", lambda *_: pytest.fail("encoded although cached"))
    right = load(own[:3], own[3:], "ann")
    assert all(torch.equal(a.mean, b.mean) for a, b in zip(swapped.reference, right.source, strict=True))
    assert signatures(tmp_path) == sorted(str({"ann": [f"s{i}"]}) for i in range(3)) + sorted(str({"noir": [f"r{i}"]}) for i in range(3))
    load(own[3:], own[:3], "noir")  # and never nobody's again
    assert signatures(tmp_path)[:3] == [str({"ann": [f"s{i}"]}) for i in range(3)]


def test_the_cache_knows_another_augmentation(prepared: PreparedSet, pack: Pack, backbone: Backbone, tmp_path: Path) -> None:
    first = load_training_data(prepared, pack, backbone, Augment(versions=2), tmp_path)
    second = load_training_data(prepared, pack, backbone, Augment(versions=2, brightness=0.3), tmp_path)
    assert torch.equal(first.source[0].mean[0], second.source[0].mean[0]) and not torch.equal(
        first.source[0].mean[1], second.source[0].mean[1]
    )
    assert len(list(tmp_path.glob("*.safetensors"))) == 12


def test_a_damaged_cache_is_made_again(
    prepared: PreparedSet, pack: Pack, backbone: Backbone, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = load_training_data(prepared, pack, backbone, Augment(versions=1), tmp_path)
    for path in tmp_path.glob("*.safetensors"):
        path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        second = load_training_data(prepared, pack, backbone, Augment(versions=1), tmp_path)
    assert "damaged" in caplog.text
    assert torch.equal(first.reference[2].mean, second.reference[2].mean)


def test_a_set_of_another_resolution_or_an_empty_one_is_refused(
    prepared: PreparedSet, pack: Pack, backbone: Backbone, tmp_path: Path
) -> None:
    other = PreparedSet(prepared.folder, 64, prepared.source, prepared.reference)
    with pytest.raises(ValueError, match="prepared at 64 px.*works at 32 px"):
        load_training_data(other, pack, backbone, Augment(), tmp_path)
    with pytest.raises(ValueError, match="the reference set is empty"):
        load_training_data(PreparedSet(prepared.folder, 32, prepared.source, ()), pack, backbone, Augment(), tmp_path)


def test_a_look_without_a_face_is_drawn_with_an_empty_mask(pack: Pack, backbone: Backbone, tmp_path: Path) -> None:
    opened = PreparedSet.load(tinymodel.build_prepared(tmp_path / "prepared", faceless=1))
    data = load_training_data(opened, pack, backbone, Augment(versions=2), tmp_path)
    batch = draw(data, 0, rows=3)
    faceless = batch.keypoints.isnan().any(dim=(1, 2))
    assert faceless.tolist() == [bool(face.sum() == 0) for face in batch.face] and faceless[3:6].sum() == 1
