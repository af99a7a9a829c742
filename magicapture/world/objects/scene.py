"""Things in textures: pictures of objects whose shape is their identity and whose material is the style, with mask, box and words."""

from dataclasses import dataclass

import numpy as np

from magicapture.world.canvas import Canvas
from magicapture.world.objects.constructions import Car, Chair
from magicapture.world.objects.light import light_object, paint_room, paint_shadow
from magicapture.world.objects.solids import Part, Surface
from magicapture.world.objects.textures import TEXTURES, Texture
from magicapture.world.objects.vessels import Teapot, Vase
from magicapture.world.sheet import contact_sheet

Shape = Vase | Teapot | Chair | Car
_SHAPES: dict[str, type[Vase] | type[Teapot] | type[Chair] | type[Car]] = {"vase": Vase, "teapot": Teapot, "chair": Chair, "car": Car}
#: The kinds of objects, as captions use them.
KINDS = tuple(_SHAPES)


@dataclass(frozen=True)
class Thing:
    """What makes an object itself: its kind and the numbers of its shape."""

    kind: str
    shape: Shape

    @staticmethod
    def sample(seed: int, kind: str | None = None) -> "Thing":
        """A draw of `kind`, or of any. Raises ValueError for an unknown kind."""
        rng = np.random.default_rng([seed, 17])
        drawn = KINDS[int(rng.integers(len(KINDS)))]
        kind = drawn if kind is None else kind
        if kind not in _SHAPES:
            raise ValueError(f"no kind of object {kind!r}: choose one of {', '.join(KINDS)}")
        return Thing(kind, _SHAPES[kind].sample(rng))


@dataclass(frozen=True)
class Pose:
    """What changes from one picture of a thing in a texture to the next.

    `dx`, `dy` in picture widths, `scale` about 1, `tilt` in degrees, `mirror`: seen the other way round,
    `light` -1..1: from the left or right.
    """

    dx: float = 0.0
    dy: float = 0.0
    scale: float = 1.0
    tilt: float = 0.0
    mirror: bool = False
    light: float = -0.8

    @staticmethod
    def sample(seed: int) -> "Pose":
        rng = np.random.default_rng([seed, 19])
        normal = rng.standard_normal(4)
        return Pose(
            dx=float(np.clip(0.022 * normal[0], -0.05, 0.05)),
            dy=float(np.clip(0.012 * normal[1], -0.025, 0.025)),
            scale=float(np.clip(1 + 0.06 * normal[2], 0.85, 1.08)),
            tilt=float(np.clip(2.2 * normal[3], -6, 6)),
            mirror=bool(rng.random() < 0.5),
            light=float(rng.choice([-1, 1]) * rng.uniform(0.55, 1)),
        )


@dataclass
class ObjectPicture:
    """One rendered picture.

    `image` (size, size, 3) uint8 RGB; `mask` (size, size) bool, the object at each pixel's centre; `box` (4,) float32, pixels
    x1, y1, x2, y2 of the object; `caption` says all that words can say; `attributes` are the words by name.
    """

    image: np.ndarray
    mask: np.ndarray
    box: np.ndarray
    caption: str
    attributes: dict


def render_object(thing: Thing, texture: Texture, pose: Pose, size: int = 64) -> ObjectPicture:
    """Equal factors give the same picture at every `size` (pixels a side), only finer."""
    canvas = Canvas(size)
    parts = thing.shape.parts()
    surface, unit = _placed(canvas, parts, pose)
    paint_room(canvas, texture, pose.light)
    _stand(surface, parts, texture, pose)
    for part in parts:
        part.draw(surface)
    light_object(surface, texture, pose.light, unit)
    rows, columns = np.flatnonzero(canvas.labels.any(1)), np.flatnonzero(canvas.labels.any(0))
    box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32) * size / canvas.n
    image = (canvas.colours() * 255 + 0.5).astype(np.uint8)
    attributes = {"kind": thing.kind, "shape": thing.shape.words()[0], "texture": texture.name}
    return ObjectPicture(image, canvas.classes() > 0, box, _join(thing.kind, *_phrases(thing, texture)), attributes)


def render_room(texture: Texture, pose: Pose, size: int = 64) -> np.ndarray:
    """The texture's room with nothing in it: (size, size, 3) uint8 RGB."""
    canvas = Canvas(size)
    paint_room(canvas, texture, pose.light)
    return (canvas.colours() * 255 + 0.5).astype(np.uint8)


def _placed(canvas: Canvas, parts: list[Part], pose: Pose) -> tuple[Surface, float]:
    """A surface that frames the parts, and the side of the frame in object units."""
    points = np.concatenate([p.outline() for p in parts])
    low, high = points.min(0), points.max(0)
    unit = float(max((high[0] - low[0]) / 1.08, high[1] - low[1]))
    scale = 0.8 * pose.scale / unit
    a = np.radians(pose.tilt)
    flip = np.diag([-scale if pose.mirror else scale, -scale])
    matrix = np.array([(np.cos(a), -np.sin(a)), (np.sin(a), np.cos(a))]) @ flip
    height = (high[1] - low[1]) * scale
    middle = np.array([0.5 + pose.dx, 0.53 + 0.07 * (1 - height / 0.8) + pose.dy])
    return Surface(canvas, matrix, middle - matrix @ ((low + high) / 2)), unit


def _stand(surface: Surface, parts: list[Part], texture: Texture, pose: Pose) -> None:
    points = surface.place(np.concatenate([p.outline() for p in parts]))
    foot = float(points[:, 1].max())
    low = points[points[:, 1] > foot - 0.09]
    paint_shadow(surface.canvas, texture, float(low[:, 0].min()), float(low[:, 0].max()), foot, pose.light)


def _phrases(thing: Thing, texture: Texture) -> tuple[str, list[str], str]:
    shape, details = thing.shape.words()
    return shape, details, f"in the {texture.name} style"


def _join(kind: str, shape: str = "", details: list[str] | None = None, style: str = "") -> str:
    words = f"{shape} {kind}".strip()
    text = f"a photo of {'an' if words[0] in 'aeiou' else 'a'} {words}"
    for i, detail in enumerate(details or []):
        text += f" {detail}" if i == 0 and detail.startswith("with") else f" , {detail}"
    return f"{text} , {style}" if style else text


def random_object_caption(thing: Thing, texture: Texture, pose: Pose, rng: np.random.Generator) -> str:
    """A caption with phrases left out at random, so that a model learns short prompts as well as full ones."""
    shape, details, style = _phrases(thing, texture)
    kind = rng.random()
    if kind < 0.08:
        return _join(thing.kind)
    if kind < 0.16:
        return f"a photo {style}"
    keep = rng.uniform(0.45, 1.0) if kind < 0.6 else 1.0
    kept = [d for d in details if rng.random() < keep]
    return _join(thing.kind, shape if rng.random() < keep else "", kept, style if rng.random() < max(keep, 0.8) else "")


_WORDS = (
    "a an photo of , in the style with two narrow neck fluted handle handles spout feet back arms wheels big small "
    "tall wide angular round low square long straight curved short solid slatted ladder hoop oval"
)
#: Every word that captions of objects use.
OBJECT_WORDS: tuple[str, ...] = tuple(sorted({*_WORDS.split(), *KINDS, *TEXTURES}))


def objects_sheet(size: int = 128) -> np.ndarray:
    """Eight things (rows, two of each kind) in eight textures (columns): (H, W, 3) uint8 RGB."""
    names = ("ceramic", "wood", "marble", "gold", "floral", "mosaic", "lava", "knitted")
    things = [Thing.sample(seed, KINDS[i // 2]) for i, seed in enumerate((203, 205, 212, 217, 226, 231, 236, 239))]
    rows = [
        [render_object(t, Texture.sample(60 + j, name), Pose.sample(9 * i + j), size).image for j, name in enumerate(names)]
        for i, t in enumerate(things)
    ]
    return contact_sheet(rows, labels=[list(names)] + [[""] * 8] * 7)
