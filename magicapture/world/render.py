"""A person in a look in a pose, as a picture with everything that is true of it: classes, key points, box and words."""

from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image

from magicapture.world.backdrop import paint_backdrop
from magicapture.world.canvas import Canvas
from magicapture.world.captions import full_caption
from magicapture.world.clothing import paint_behind, paint_clothes, paint_neck
from magicapture.world.face import eye_line, paint_brow, paint_ears, paint_eye, paint_head, paint_marks, paint_nose
from magicapture.world.figure import Figure
from magicapture.world.grade import develop
from magicapture.world.hair import paint_back, paint_front
from magicapture.world.headwear import paint_hat, paint_hat_behind, tuck
from magicapture.world.light import shine
from magicapture.world.looks import Look
from magicapture.world.mouth import MouthShape, paint_beard, paint_glasses, paint_mouth
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person

_FACE_AREA = np.zeros(256, bool)
_FACE_AREA[[1, 2, 3, 4, 5, 6, 10, 11, 12, 13]] = True


@dataclass
class Picture:
    """One rendered picture.

    `image` (size, size, 3) uint8 RGB; `parsing` (size, size) uint8, classes of `magicapture.faces.classes`; `keypoints`
    (5, 2) float32, pixels x, y: eye, eye, nose tip, mouth corner, mouth corner, each pair from the picture's left;
    `box` (4,) float32, pixels x1, y1, x2, y2 of the face from hairline to chin; `caption` says all that words can say;
    `attributes` are the person's, the look's and the pose's words.
    """

    image: np.ndarray
    parsing: np.ndarray
    keypoints: np.ndarray
    box: np.ndarray
    caption: str
    attributes: dict


def render(person: Person, look: Look, nuisance: Nuisance, size: int = 64) -> Picture:
    """Equal factors give the same picture at every `size` (pixels a side), only finer."""
    canvas = Canvas(size)
    figure = Figure(person, look, nuisance)
    paint_backdrop(canvas, look)
    _paint_person(canvas, figure)
    box = _face_box(canvas)
    shine(canvas, figure)
    image = develop(canvas, look, nuisance.exposure)
    if nuisance.jpeg is not None:
        image = _jpeg(image, nuisance.jpeg)
    attributes = person.attributes() | {
        "expression": nuisance.expression,
        "clothing": look.clothing,
        "cloth_colour": look.cloth_colour,
        "pattern": look.pattern,
        "hat": look.hat,
        "look": look.name,
        "framing": look.framing_word,
    }
    return Picture(image, canvas.classes(), _keypoints(figure, size), box * size, full_caption(person, look, nuisance), attributes)


def render_background(look: Look, size: int = 64) -> np.ndarray:
    """The look with nobody in it: (size, size, 3) uint8 RGB."""
    canvas = Canvas(size)
    paint_backdrop(canvas, look)
    return develop(canvas, look, 1.0)


def _paint_person(canvas: Canvas, f: Figure) -> None:
    paint_hat_behind(canvas, f)
    tuck(canvas, f, lambda: paint_back(canvas, f))
    paint_behind(canvas, f)
    paint_neck(canvas, f)
    paint_clothes(canvas, f)
    paint_ears(canvas, f)
    skin = paint_head(canvas, f)
    paint_nose(canvas, f, skin)
    for side in (-1, 1):
        paint_eye(canvas, f, side, skin)
        paint_brow(canvas, f, side)
    mouth = MouthShape(f)
    paint_marks(canvas, f, skin)
    paint_beard(canvas, f, skin, mouth)
    paint_mouth(canvas, f, skin, mouth)
    tuck(canvas, f, lambda: paint_front(canvas, f, skin))
    paint_hat(canvas, f, skin)
    paint_glasses(canvas, f)


def _keypoints(f: Figure, size: int) -> np.ndarray:
    p = f.person
    mouth = MouthShape(f)
    corner = mouth.width * 0.93  # just inside the lips, where a landmark model puts it too
    y = float(np.interp(-0.93, mouth.u, (mouth.inner_top + mouth.inner_bottom) / 2))
    points = [eye_line(f, s)((0, -0.1 * p.eye_height)) for s in (-1, 1)]
    points.append(f.head.face((0, p.nose_y - 0.02), 0.14))
    points += [f.head.face((s * corner, y), 0.05) for s in (-1, 1)]
    return np.asarray(points, np.float32) * size


def _face_box(canvas: Canvas) -> np.ndarray:
    face = _FACE_AREA[canvas.labels]
    rows, columns = np.flatnonzero(face.any(1)), np.flatnonzero(face.any(0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32) / canvas.n


def _jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
