"""Objects in textures: what is said of a picture must be true of it, shape belongs to the thing and material to the texture."""

from itertools import combinations, product

import cv2
import numpy as np
import pytest

from magicapture.world.objects import (
    KINDS,
    OBJECT_WORDS,
    TEXTURES,
    Pose,
    Texture,
    Thing,
    objects_sheet,
    random_object_caption,
    render_object,
    render_room,
)


def test_equal_factors_give_equal_pictures():
    one, two = (render_object(Thing.sample(5), Texture.sample(6), Pose.sample(7)) for _ in range(2))
    assert np.array_equal(one.image, two.image) and np.array_equal(one.mask, two.mask) and np.array_equal(one.box, two.box)
    assert (one.caption, one.attributes) == (two.caption, two.attributes)
    assert one.image.shape == (64, 64, 3) and one.image.dtype == np.uint8
    assert one.mask.shape == (64, 64) and one.mask.dtype == bool and one.box.dtype == np.float32
    assert Thing.sample(5) == Thing.sample(5) != Thing.sample(6) and Texture.sample(5) == Texture.sample(5) != Texture.sample(6)


def test_every_kind_renders_in_every_texture():
    for seed, (kind, name) in enumerate(product(KINDS, TEXTURES)):
        texture, pose = Texture.sample(seed, name), Pose.sample(seed)
        picture = render_object(Thing.sample(seed, kind), texture, pose)
        assert picture.attributes["kind"] == kind and picture.attributes["texture"] == name
        assert 0.05 < picture.mask.mean() < 0.6, (kind, name, seed)
        room = render_room(texture, pose)
        # the object hides the room: next to every one of its pixels shows something else
        other = np.abs(picture.image.astype(int) - room).max(2) > 2
        assert other[picture.mask].mean() > 0.97, (kind, name, seed)
        # far above it nothing has changed
        top = int(picture.box[1])
        assert np.abs(picture.image[: max(top - 1, 0)].astype(int) - room[: max(top - 1, 0)]).max(initial=0) <= 1


@pytest.mark.parametrize("size", [64, 128])
def test_the_box_encloses_the_mask(size):
    for seed in range(24):
        picture = render_object(Thing.sample(seed), Texture.sample(seed), Pose.sample(seed), size)
        rows, columns = np.flatnonzero(picture.mask.any(1)), np.flatnonzero(picture.mask.any(0))
        tight = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        assert np.abs(picture.box - tight).max() <= 1, (seed, picture.box, tight)  # the mask knows pixel centres only
        assert picture.box.min() >= 0 and picture.box.max() <= size


def test_sizes_show_the_same_picture():
    for seed in range(12):
        factors = Thing.sample(seed), Texture.sample(seed), Pose.sample(seed)
        small, large = (render_object(*factors, size) for size in (64, 192))
        shrunk = cv2.resize(large.image, (64, 64), interpolation=cv2.INTER_AREA).astype(float)
        assert np.abs(shrunk - small.image).mean() < 4
        assert (large.mask[1::3, 1::3] != small.mask).mean() < 0.015  # both at the small pixels' centres
        assert np.abs(large.box / 3 - small.box).max() < 1
        assert large.caption == small.caption


def test_shape_is_the_things_and_material_the_textures():
    pose = Pose()
    for kind in KINDS:
        things = [Thing.sample(seed, kind) for seed in range(6)]
        masks = [render_object(t, Texture.sample(1, "wood"), pose).mask for t in things]
        unlike = [1 - (a & b).sum() / (a | b).sum() for a, b in combinations(masks, 2)]
        assert min(unlike) > 0.02 and np.mean(unlike) > 0.15, (kind, unlike)
        for seed, name in enumerate(TEXTURES):
            assert np.array_equal(render_object(things[0], Texture.sample(seed, name), pose).mask, masks[0])


def test_poses_mirror_and_turn_the_light():
    thing, texture = Thing.sample(4, "teapot"), Texture.sample(2, "ceramic")
    plain, mirrored = (render_object(thing, texture, Pose(mirror=m, light=-0.8)) for m in (False, True))
    assert (plain.mask != mirrored.mask[:, ::-1]).mean() < 0.02
    vase = Thing.sample(4, "vase")
    for mirror in (False, True):
        left, right = (render_object(vase, Texture.sample(3, "knitted"), Pose(mirror=mirror, light=s)) for s in (-0.8, 0.8))
        x1, _, x2, _ = left.box
        half = np.arange(64) < (x1 + x2) / 2
        lean = [p.image[:, half][p.mask[:, half]].mean() - p.image[:, ~half][p.mask[:, ~half]].mean() for p in (left, right)]
        assert lean[0] > 8 and lean[1] < -8


def test_captions_use_known_words_and_are_true():
    rng = np.random.default_rng(0)
    assert all(w == w.lower() and " " not in w and w for w in OBJECT_WORDS) and len(set(OBJECT_WORDS)) == len(OBJECT_WORDS)
    seen: set[str] = set()
    for seed in range(400):
        thing, texture, pose = Thing.sample(seed), Texture.sample(seed), Pose.sample(seed)
        full = render_object(thing, texture, pose, 16).caption
        for text in (full, random_object_caption(thing, texture, pose, rng)):
            words = text.split(" ")
            assert set(words) <= set(OBJECT_WORDS) and len(words) <= 20, text
            assert text.startswith("a photo") and set(words) & set(KINDS) <= {thing.kind} and set(words) & set(TEXTURES) <= {texture.name}
            seen |= set(words)
        assert thing.kind in full.split() and full.endswith(f", in the {texture.name} style")
    assert seen == set(OBJECT_WORDS)
    short = {random_object_caption(Thing.sample(1, "vase"), Texture.sample(1, "marble"), Pose(), rng) for _ in range(200)}
    assert {"a photo of a vase", "a photo in the marble style"} <= short


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match="boat.*vase"):
        Thing.sample(0, "boat")
    with pytest.raises(ValueError, match="felt.*wood"):
        Texture.sample(0, "felt")


def test_the_sheet_shows_eight_by_eight():
    sheet = objects_sheet(32)
    assert sheet.dtype == np.uint8 and sheet.ndim == 3 and sheet.shape[0] > 8 * 32 and sheet.shape[1] > 8 * 32
