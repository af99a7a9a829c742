"""Training of the diffusion model: exact resume, averaged gradients, and the Stable Diffusion folder it writes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from magicapture.world import diffusion, loop
from magicapture.world.architecture import TEXT_LENGTH, random_diffusion
from magicapture.world.diffusion_data import CAPTIONS, Pictures
from magicapture.world.parallel import average_gradients, launch


def _line(folder: Path, rank: int = 0, processes: int = 1, steps: int = 20) -> loop.Run:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Flatten(), torch.nn.Linear(12, 1)).to(memory_format=torch.channels_last)
    return loop.Run(model, folder, steps=steps, rate=0.02, seed=3, rank=rank, processes=processes, warm_up=2)


def _fit(run: loop.Run, until: int | None = None) -> None:
    def loss(step: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
        if until is not None and step == until:
            raise KeyboardInterrupt
        x = torch.randn(8, 2, 4, 4, generator=generator)
        return {"total": (run.model(x)[:, 0] - x.mean((1, 2, 3))).square().mean()}

    run.run(loss, save_every=0.0, log_every=5)


def test_a_killed_run_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    _fit(_line(tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        _fit(_line(tmp_path / "killed"), until=11)
    resumed = _line(tmp_path / "killed")
    assert resumed.step == 11
    _fit(resumed)
    whole, killed = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "killed"))
    assert whole.keys() == killed.keys()
    assert all(torch.equal(whole[key], killed[key]) for key in whole)
    log = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in log] == [5, 10, 15, 20]
    assert log[-1]["total"] < log[0]["total"]


def test_cells_in_a_face_count_three_times_as_much_and_pictures_alike() -> None:
    faces = np.zeros((2, 8, 8), bool)
    faces[0, :4, :4] = True  # one of four cells
    faces[1] = True
    weights = diffusion.cell_weights(faces, 2).astype(float)
    np.testing.assert_allclose(weights.mean((1, 2)), 1, atol=1e-3)
    assert weights[0, 0, 0] == pytest.approx(3 * weights[0, 1, 1], rel=1e-2) and np.ptp(weights[1]) == 0


def _average(rank: int, processes: int, device: str, folder: Path) -> None:
    weights = [torch.nn.Parameter(torch.zeros(3)), torch.nn.Parameter(torch.zeros(2, 2))]
    for weight in weights:
        weight.grad = torch.full_like(weight, float(rank))
    average_gradients(weights, processes)
    np.save(folder / f"{rank}.npy", torch.cat([w.grad.flatten() for w in weights]).numpy())


def test_gradients_are_averaged_over_processes(tmp_path: Path) -> None:
    launch(_average, 2, "cpu", tmp_path)
    for rank in range(2):
        np.testing.assert_array_equal(np.load(tmp_path / f"{rank}.npy"), np.full(7, 0.5))


def test_the_folder_loads_in_the_stock_pipeline(tmp_path: Path) -> None:
    random_diffusion(tmp_path)
    pipeline = StableDiffusionPipeline.from_pretrained(tmp_path, local_files_only=True, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert pipeline.tokenizer.model_max_length == TEXT_LENGTH
    picture = pipeline("a photo of a person", num_inference_steps=2, output_type="np", generator=torch.Generator().manual_seed(0)).images
    assert picture.shape == (1, 64, 64, 3)
    assert np.isfinite(picture).all()


def test_labels_say_what_the_captions_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from magicapture.world import diffusion_data
    from magicapture.world.tokenizer import build_tokenizer

    monkeypatch.setattr(diffusion_data, "SHARD", 60)
    monkeypatch.setattr(diffusion_data, "OBJECTS", 0.2)
    pictures = Pictures.load(diffusion_data.render_shard(tmp_path, 0).parent)
    tokenizer = build_tokenizer(tmp_path / "tokenizer", TEXT_LENGTH)
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in pictures.captions[:, 0]]
    things = pictures.labels[:, 0] < 0
    assert 3 <= things.sum() <= 25
    for text, labels in zip(texts, pictures.labels, strict=True):
        words = {name: values[label] for (name, values), label in zip(diffusion_data.LABELS.items(), labels, strict=True) if label >= 0}
        assert ("person" in text) == bool(words)
        said = [words[name] for name in ("skin", "hair_colour", "expression", "clothing", "cloth_colour", "look") if name in words]
        assert set(said) <= set(text.replace(",", " ").split()), (text, words)


def test_shards_are_rendered_once_and_read_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from magicapture.world import diffusion_data

    monkeypatch.setattr(diffusion_data, "SHARD", 6)
    diffusion_data.render_shards(tmp_path, 2)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    diffusion_data.render_shards(tmp_path, 2)
    assert stamps == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    pictures = Pictures.load(tmp_path)
    assert len(pictures) == 12
    assert pictures.images.shape == (12, 64, 64, 3)
    assert pictures.captions.shape == (12, CAPTIONS, TEXT_LENGTH)
    assert pictures.faces.mean((1, 2)).min() > 0.05
    assert pictures.captions.min() >= 0
    assert pictures.labels.shape == (12, len(diffusion_data.LABELS))


def test_the_recipe_for_128_px_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from magicapture.world import autoencoder, diffusion_data
    from magicapture.world.architecture import build_unet

    monkeypatch.setattr(diffusion_data, "SHARD", 4)
    autoencoder.train_vae(tmp_path, steps=1, shards=1, batch=1, resolution=128)
    diffusion.train_unet(tmp_path, steps=1, shards=1, batch=2, resolution=128)
    model = loop.load_average(diffusion.build_text_to_image(tmp_path / "tokens", 128), tmp_path / "unet")
    with torch.no_grad():
        made = model(torch.zeros(1, 8, 32, 32), torch.tensor([3]), torch.zeros(1, TEXT_LENGTH, dtype=torch.int64))
    assert made.shape == (1, 8, 32, 32)
    with pytest.raises(ValueError, match="64 and 128"):
        build_unet(96)
