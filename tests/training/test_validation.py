from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from magicapture.config import Config
from magicapture.faces.prepared import PreparedSet
from magicapture.packs import Pack
from magicapture.training.session import Session
from magicapture.training.validation import FIRST_SEED, FaceScore, Validation
from tests.faces import tinypack


@pytest.fixture
def validation(make_session: Callable[..., Session], pack: Pack, prepared: PreparedSet, config: Config, tmp_path: Path) -> Validation:
    return Validation(make_session(config).backbone, pack, prepared, config, tmp_path / "samples")


def test_the_score_is_the_judges_mean_cosine_and_a_lost_face_counts_zero(validation: Validation, monkeypatch: pytest.MonkeyPatch) -> None:
    faces = np.stack([tinypack.draw(64, 64, [(32, 32, 30, 0)]), tinypack.draw(64, 64, [(32, 32, 30, 1)]), tinypack.draw(64, 64, [])])
    score = validation.score
    assert isinstance(score, FaceScore)
    embeddings, found = score.judge.embed_faces(faces, score.detector)
    assert found.tolist() == [True, True, False]
    score.people = embeddings[:1]
    monkeypatch.setattr(validation, "sample", lambda: faces)
    assert validation(7) == pytest.approx((1 + float(embeddings[1] @ embeddings[0]) + 0) / 3, abs=1e-5)
    assert sorted(path.name for path in validation.folder.iterdir()) == [f"step-00007-{i}.png" for i in range(3)]


def test_the_judge_scores_and_not_the_recogniser_that_trains(validation: Validation, prepared: PreparedSet) -> None:
    score = validation.score
    assert isinstance(score, FaceScore) and score.judge.role == "judge"
    mean = prepared.embeddings("judge", "source").mean(axis=0)
    assert np.allclose(score.people, [mean / np.linalg.norm(mean)])


def test_samples_are_fixed_and_draw_nothing_from_the_global_generator(validation: Validation, config: Config) -> None:
    state = torch.get_rng_state()
    first, second = validation.sample(), validation.sample()
    assert np.array_equal(first, second) and first.shape == (2, 32, 32, 3)
    assert torch.equal(torch.get_rng_state(), state)
    assert validation.seeds == [FIRST_SEED, FIRST_SEED + 1] and not set(validation.seeds) & set(config.generation.seeds)
    assert not set(validation.prompts) & set(config.generation.prompts)


def test_validation_seeds_make_way_for_reported_ones(
    make_session: Callable[..., Session], pack: Pack, prepared: PreparedSet, config: Config, tmp_path: Path
) -> None:
    taken = config.model_copy(update={"generation": config.generation.model_copy(update={"seeds": (FIRST_SEED,)})})
    assert Validation(make_session(config).backbone, pack, prepared, taken, tmp_path).seeds == [FIRST_SEED + 1, FIRST_SEED + 2]
