from __future__ import annotations

import pytest

from magicapture.packs import load_pack
from magicapture.scoring.structure import StructureScorer
from magicapture.world.objects import Pose, Texture, Thing, render_object


def test_the_photo_is_built_as_the_photos_and_the_look_looks_as_the_looks() -> None:
    photo, look = (
        render_object(Thing.sample(seed, "vase"), Texture.sample(seed, texture), Pose.sample(seed)).image
        for seed, texture in ((1, "wood"), (2, "gold"))
    )
    own = StructureScorer(load_pack("mini")).score([look, photo], [photo], [look])
    assert own.appearance[0] == pytest.approx(1, abs=1e-5) and own.appearance[0] > own.appearance[1] + 0.5
    assert own.structure[1] == pytest.approx(1, abs=1e-5) and own.structure[1] > own.structure[0] + 0.1
