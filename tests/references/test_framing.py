from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from magicapture.config import Preprocess
from magicapture.faces.analysis import Face
from magicapture.references.errors import SetAside
from magicapture.references.framing import Square, frame, frame_object

KNOBS = Preprocess()


def _face(x: float, y: float, height: float, width: float | None = None) -> Face:
    half = np.array([(width or 0.8 * height) / 2, height / 2])
    return Face(np.concatenate([[x, y] - half, [x, y] + half]).astype(np.float32), np.zeros((5, 2), np.float32), 0.9)


def test_a_well_framed_square_picture_is_kept_whole() -> None:
    assert frame(300, 300, _face(100, 90, 120), KNOBS) == Square(0, 0, 300)


def test_largest_square_centred_on_the_face() -> None:
    assert frame(400, 300, _face(150, 120, 150), KNOBS) == Square(0, 0, 300)
    assert frame(400, 300, _face(150, 220, 150), KNOBS) == Square(0, 70, 300)
    assert frame(300, 500, _face(480, 150, 100), KNOBS) == Square(200, 0, 300)
    assert frame(300, 500, None, KNOBS) == Square(100, 0, 300)


def test_a_small_face_gets_its_least_share() -> None:
    assert frame(1000, 2000, _face(1000, 500, 60), KNOBS) == Square(850, 350, 300)
    with pytest.raises(SetAside, match=r"face too small: 9 px high; framed to 20% .* would be 45 px, less than 48 \(preprocess.min_side\)"):
        frame(1000, 2000, _face(1000, 500, 9), KNOBS)


def test_a_face_larger_than_any_square() -> None:
    with pytest.raises(SetAside, match=r"face too large: it takes 133% of the height.*preprocess.max_face"):
        frame(450, 300, _face(150, 225, 400, 290), KNOBS)


@example(height=192, width=192, x=0.0, y=0.75, share=0.05, aspect=1.0)  # just at the limit: float32 makes it 47.99 px
@given(
    height=st.integers(48, 3000), width=st.integers(48, 3000), x=st.floats(0, 1), y=st.floats(0, 1),
    share=st.floats(0.05, 0.9), aspect=st.floats(0.5, 1.0),
)  # fmt: skip
def test_square_lies_in_the_picture_and_holds_the_face(height: int, width: int, x: float, y: float, share: float, aspect: float) -> None:
    tall = share * min(height, width)
    face = _face(tall * aspect / 2 + x * (width - tall * aspect), tall / 2 + y * (height - tall), tall, tall * aspect)
    try:
        square = frame(height, width, face, KNOBS)
    except SetAside:
        assert tall / KNOBS.min_face < KNOBS.min_side + 0.01  # boxes are float32
        return
    assert 0 <= square.left <= width - square.side and 0 <= square.top <= height - square.side
    moved = square.move(face.box.reshape(2, 2), 64)
    assert moved.min() >= -2.1 and moved.max() <= 66.1
    assert moved[1, 1] - moved[0, 1] >= 0.2 * 64 - 1e-2


@pytest.mark.parametrize(("side", "resolution"), [(200, 64), (64, 64), (100, 64), (40, 128)])
def test_points_and_pixels_move_together(side: int, resolution: int) -> None:
    """A bright disc is cut out; its centre of mass is where the key point says."""
    ys, xs = np.mgrid[:300, :260] + 0.5
    centre = np.array([120.3, 141.8])
    image = np.repeat((255 * np.exp(-((xs - centre[0]) ** 2 + (ys - centre[1]) ** 2) / (side / 12) ** 2))[:, :, None], 3, axis=2).astype(
        np.uint8
    )
    square = Square(120 - side // 2, 140 - side // 2, side)
    cut = square.cut(image, resolution)
    assert cut.shape == (resolution, resolution, 3)
    ys, xs = np.mgrid[:resolution, :resolution] + 0.5
    weight = cut[:, :, 0] / cut[:, :, 0].sum(dtype=np.float64)
    np.testing.assert_allclose([(weight * xs).sum(), (weight * ys).sum()], square.move(centre, resolution), atol=0.15)


def test_an_object_is_in_the_middle_as_far_as_the_picture_allows() -> None:
    mask = np.zeros((200, 400), bool)
    mask[50:100, 300:380] = True
    assert frame_object(mask) == Square(200, 0, 200)
    mask[50:100, 200:380] = True
    assert frame_object(mask) == Square(190, 0, 200)
    assert frame_object(np.ones((300, 500), bool)) == Square(100, 0, 300)
