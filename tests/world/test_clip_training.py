from __future__ import annotations

import numpy as np

from magicapture.packs import Pack
from magicapture.scoring.clip import ClipEncoder
from magicapture.world.clip_training import HARMS, WORST, _worn, embed, network_input
from magicapture.world.datasets import Samples


def test_training_sees_what_the_scorer_sees(pack: Pack, groups: Samples) -> None:
    encoder = ClipEncoder(pack)
    np.testing.assert_allclose(network_input(groups.images[:1])[0].numpy(), encoder.prepare(groups.images[0]), atol=1e-5)
    rows = embed(encoder.model, groups.images[:5])
    np.testing.assert_allclose(rows.numpy(), encoder.embed(list(groups.images[:5])), atol=1e-5)


def test_levels_belong_to_the_pictures(groups: Samples) -> None:
    worn, amounts = _worn(groups.images, np.random.default_rng(0), 0.5)
    changed = (worn != groups.images).any((1, 2, 3))
    assert 0 < changed.sum() < len(changed)
    assert np.array_equal(changed, amounts.sum(1) > 0)
    assert amounts.shape == (len(worn), HARMS)
    assert amounts.min() == 0 and amounts.sum(1).max() <= WORST
    assert set((amounts > 0).sum(1)) <= {0, 2, 3}
