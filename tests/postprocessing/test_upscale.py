from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import yaml

from magicapture.packs import Pack, PackError, load_pack
from magicapture.postprocessing.upscale import Upscaler, consistent
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render
from magicapture.world.splits import seeds
from tests.faces import tinypack


def _settings(folder: Path, **settings: int) -> Pack:
    data = yaml.safe_load((folder / "pack.yaml").read_text())
    data["roles"]["upscaler"]["settings"] |= settings
    (folder / "pack.yaml").write_text(yaml.safe_dump(data))
    return load_pack(folder)


@pytest.fixture
def image() -> np.ndarray:
    return render(Person.sample(2), Look.sample(2), Nuisance.sample(2), size=128).image[:, :110]


def test_bicubic_by_onnx(tiny_pack: Pack, image: np.ndarray) -> None:
    upscaler = Upscaler(tiny_pack)
    out = upscaler.upscale(image)
    expected = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    assert upscaler.scale == 4 and out.shape == (512, 440, 3) and out.dtype == np.uint8
    assert np.abs(out.astype(int) - expected).max() <= 2


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_reduced_again_it_comes_back_to_the_small_picture(image: np.ndarray, share: float) -> None:
    small = cv2.resize(image, (55, 64), interpolation=cv2.INTER_AREA)
    wrong = cv2.GaussianBlur(cv2.resize(small, (220, 256), interpolation=cv2.INTER_CUBIC), (0, 0), 5)

    def away(large: np.ndarray) -> float:
        return float(np.abs(cv2.resize(large, (55, 64), interpolation=cv2.INTER_AREA).astype(float) - small).mean())

    made = consistent(wrong, small, share)
    assert made.dtype == np.uint8 and made.shape == wrong.shape
    assert away(made) == pytest.approx((1 - share) * away(wrong), abs=0.6)
    assert (share == 0) == np.array_equal(made, wrong)


def test_what_the_small_picture_cannot_hold_stays(image: np.ndarray) -> None:
    small = np.full((16, 16, 3), 128, np.uint8)
    fine = np.full((64, 64, 3), 128, np.uint8)
    fine[::2], fine[1::2] = 100, 156
    assert np.array_equal(consistent(fine, small, 1.0), fine)


def test_tiles_leave_no_seam(tmp_path: Path, tiny_pack: Pack, image: np.ndarray) -> None:
    whole = Upscaler(tiny_pack).upscale(image)
    tiled = Upscaler(_settings(tinypack.build(tmp_path), tile=70)).upscale(image)
    assert tiled.shape == whole.shape and np.abs(tiled.astype(int) - whole).max() <= 1


def test_odd_sides_are_padded_to_the_multiple(tmp_path: Path, image: np.ndarray) -> None:
    pack = _settings(tinypack.build(tmp_path), multiple=8)
    assert Upscaler(pack).upscale(image[:37, :51]).shape == (148, 204, 3)


def test_wrong_settings_are_named(tmp_path: Path, image: np.ndarray) -> None:
    folder = tinypack.build(tmp_path)
    with pytest.raises(PackError, match=r"gives \(3, 512, 440\) for scale 2, expected \(3, 256, 220\); check pack.yaml"):
        Upscaler(_settings(folder, scale=2)).upscale(image)
    with pytest.raises(PackError, match="tile is 32 px; expected more than 32"):
        Upscaler(_settings(folder, tile=32))
    onnx.save(tinypack.upscaler(2), str(folder / "upscaler.onnx"))
    assert Upscaler(_settings(folder, tile=512)).upscale(image).shape == (256, 220, 3)


def test_mini_is_nearer_to_the_large_render_than_bicubic(mini_pack: Pack) -> None:
    """Trained pack: pictures of the diffusion model's size grow into what the renderer draws at four times the size."""
    upscaler, gains = Upscaler(mini_pack), []
    for i in range(12):
        large = render(
            Person.sample(seeds("people", "test")[i]), Look.sample(seeds("looks", "test")[i]), Nuisance.sample(i), size=64 * upscaler.scale
        ).image
        small = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
        bicubic = cv2.resize(small, large.shape[:2], interpolation=cv2.INTER_CUBIC)
        errors = [np.square(guess.astype(float) - large).mean() for guess in (upscaler.upscale(small), bicubic)]
        gains.append(10 * np.log10(errors[1] / errors[0]))
    assert np.mean(gains) > 0.3
