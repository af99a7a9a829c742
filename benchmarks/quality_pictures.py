"""Photos of rendered people for ``benchmarks.quality``: good ones in every look, and bad ones of ten kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from magicapture.artifacts import write_json
from magicapture.world import degrade
from magicapture.world.canvas import smooth
from magicapture.world.looks import LOOKS, Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.objects import KINDS as THINGS
from magicapture.world.objects import Pose, Texture, Thing, render_object
from magicapture.world.people import Person, matched_stranger
from magicapture.world.render import Picture, render, render_background
from magicapture.world.splits import seeds

SIZE, GOOD = 512, 10
# Offsets inside a split's seeds, so that nobody and no look is used twice for different ends.
_OTHERS, _BAD_LOOKS = 300_000, 500_000
LABELS = "labels.json"


@dataclass(frozen=True)
class Label:
    """What a file is: ``kind`` of the bad ones ("" of the good), ``problem`` the gate should find, ``of`` the photo it copies."""

    file: str
    kind: str = ""
    problem: str = ""
    of: str = ""


class Painter:
    """Draws one person's photos; everything is a function of split and number."""

    def __init__(self, split: str, number: int) -> None:
        self.split, self.number = split, number
        self.person = Person.sample(seeds("people", split)[1000 + number])
        self.rng = np.random.default_rng((number, 101, split == "test"))

    def look(self, index: int, offset: int = 0) -> Look:
        """Family after family, every fourth a mixture of three; without sunglasses."""
        own = seeds("looks", self.split)
        for attempt in range(100):
            seed = own[offset + 100 * (GOOD * self.number + index) + attempt]
            look = Look.compose(seed) if index % 4 == 3 else Look.sample(seed, LOOKS[(GOOD * self.number + index) % len(LOOKS)])
            if not look.sunglasses:
                return look
        raise AssertionError("a hundred looks with sunglasses")

    def nuisance(self) -> Nuisance:
        # The file's own compression is the picture's only one.
        return replace(Nuisance.sample(int(self.rng.integers(2**31))), jpeg=None)

    def other(self, matched: bool) -> Person:
        seed = seeds("people", self.split)[_OTHERS + self.number]
        return matched_stranger(self.person, seed) if matched else Person.sample(seed)

    def picture(self, person: Person | None = None, look: Look | None = None, nuisance: Nuisance | None = None) -> Picture:
        """A photo by itself good, in a look of its own."""
        look = look or self.look(int(self.rng.integers(1000)), _BAD_LOOKS)
        return render(person or self.person, look, nuisance or self.nuisance(), SIZE)


def write_photos(out: Path, split: str, number: int) -> list[Label]:
    """``GOOD`` photos of a person and a bad one of every kind in ``out/photos``, which tells of them in LABELS; done once."""
    if (out / LABELS).is_file():
        return [Label(**entry) for entry in json.loads((out / LABELS).read_text())]
    painter = Painter(split, number)
    labels = []
    for index in range(GOOD):
        labels.append(Label(f"good-{index}.jpg"))
        _save(out / "photos" / labels[-1].file, painter.picture(look=painter.look(index)).image, painter.rng)
    for kind, make in KINDS.items():
        painter.rng = np.random.default_rng((number, len(labels), 103, split == "test"))  # a kind's pictures stay when another's change
        problem, image = make(painter)
        labels.append(Label(f"{kind.replace(' ', '-')}.jpg", kind, problem))
        _save(out / "photos" / labels[-1].file, image, painter.rng)
    labels.append(Label("near-duplicate.jpg", "duplicate", "duplicate", labels[0].file))
    _save(out / "photos" / labels[-1].file, _copy(np.array(Image.open(out / "photos" / labels[0].file)), painter.rng), painter.rng)
    write_json(out / LABELS, [label.__dict__ for label in labels])
    return labels


def write_sets(out: Path, split: str, number: int) -> dict[str, list[Path]]:
    """Two sets of four photos that lack something, drawn where they are missing: "pose", one turn of the head in four looks; "place", one
    look in one light, turned differently."""
    files = {name: [out / name / f"{index}.jpg" for index in range(4)] for name in ("pose", "place")}
    painter = Painter(split, number)
    painter.rng = np.random.default_rng((number, 107, split == "test"))
    first, place = painter.nuisance(), painter.look(0, _BAD_LOOKS)
    for name, own in files.items():
        for index, file in enumerate(own):
            nuisance = painter.nuisance()
            same = {"yaw": first.yaw} if name == "pose" else {"light": first.light, "exposure": first.exposure}
            if not file.is_file():
                look = painter.look(index, _BAD_LOOKS) if name == "pose" else place
                _save(file, painter.picture(look=look, nuisance=replace(nuisance, **same)).image, np.random.default_rng(index))
    return files


Made = tuple[str, np.ndarray]


def _face_count(p: Painter) -> Made:
    """Nobody (an empty place, a thing), or two people side by side."""
    look = p.look(int(p.rng.integers(1000)), _BAD_LOOKS)
    if p.number % 4 == 0:
        return "no face", render_background(look, SIZE)
    if p.number % 4 == 2:
        seed = int(p.rng.integers(2**31))
        kind = list(THINGS)[p.number // 4 % len(THINGS)]
        return "no face", render_object(Thing.sample(seed, kind), Texture.sample(seed), Pose.sample(seed), SIZE).image
    images = [p.picture(person, look).image[:, 60:452] for person in (p.person, p.other(matched=False))]
    return "several faces", np.hstack(images)


def _small_face(p: Painter) -> Made:
    """Far away: the face takes 5 to 10 % of the picture's height."""
    picture = p.picture()
    share = p.rng.uniform(0.05, 0.10)
    scale = share * SIZE / (picture.box[3] - picture.box[1])
    target = p.rng.uniform(0.3, 0.7, 2) * SIZE
    shift = target - scale * (picture.box[:2] + picture.box[2:]) / 2
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    backdrop = render_background(p.look(int(p.rng.integers(1000)), _BAD_LOOKS), SIZE).astype(np.float32)
    mask = (picture.parsing > 0).astype(np.uint8) * 255
    layer, cover = (_reduced(image, matrix) for image in (picture.image, mask))
    share_of = cover.astype(np.float32)[:, :, None] / 255
    return "small face", (backdrop * (1 - share_of) + layer * share_of + 0.5).astype(np.uint8)


def _cut_off(p: Painter) -> Made:
    """The picture ends inside the face: 25 to 45 % of its height or width are missing."""
    picture = p.picture()
    left, top, right, bottom = (int(v) for v in picture.box)
    missing = p.rng.uniform(0.25, 0.45)
    across, down = int((right - left) * missing), int((bottom - top) * missing)
    image = picture.image
    return "cut off", [image[:, left + across :], image[:, : right - across], image[top + down :], image[: bottom - down]][p.number % 4]


def _pose(p: Painter) -> Made:
    """The picture lies on its side or its head, the head is tilted far, or turned almost to a profile."""
    side = float(p.rng.choice([-1, 1]))
    if p.number % 2:
        return "turned away", p.picture(nuisance=replace(p.nuisance(), yaw=side * p.rng.uniform(2.0, 2.3))).image
    image = p.picture().image
    if p.number % 4 == 0:
        return "tilted", np.ascontiguousarray(np.rot90(image, int(p.rng.integers(1, 4))))
    matrix = cv2.getRotationMatrix2D((SIZE / 2, SIZE / 2), side * p.rng.uniform(40, 70), 0.9)
    return "tilted", cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _covered(p: Painter) -> Made:
    """Sunglasses; or a hand over mouth and nose, or over an eye."""
    if p.number % 2:
        look = p.look(int(p.rng.integers(1000)), _BAD_LOOKS)
        return "covered", p.picture(look=replace(look, sunglasses=True)).image
    picture = p.picture()
    eyes = np.linalg.norm(picture.keypoints[1] - picture.keypoints[0])
    mouth = picture.keypoints[3:].mean(0)
    target = (mouth + picture.keypoints[2]) / 2 if p.number % 4 == 0 else picture.keypoints[int(p.rng.integers(2))]
    return "covered", _hand(picture.image, target, 0.9 * eyes, np.array(p.person.skin_rgb), p.rng)


def _hand(image: np.ndarray, target: np.ndarray, width: float, skin: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A hand of ``width`` px whose palm lies at ``target`` (x, y), its arm coming from below."""
    angle = rng.uniform(-0.5, 0.5)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) * width
    palm = np.array(
        [(-0.5, -0.35), (0, -0.45), (0.5, -0.35), (0.55, 0.3), (0.35, 0.7), (0.32, 3.5), (-0.32, 3.5), (-0.35, 0.7), (-0.55, 0.3)]
    )
    parts = [smooth(palm, 6)]
    for finger in range(4):
        x = -0.39 + 0.26 * finger
        length = (0.62, 0.8, 0.85, 0.7)[finger]
        tip = [(x - 0.12, -0.3), (x - 0.11, -0.35 - length), (x, -0.5 - length), (x + 0.11, -0.35 - length), (x + 0.12, -0.3)]
        parts.append(smooth(np.array(tip), 6))
    colour = np.clip(skin * 255 * rng.uniform(0.8, 1.0), 0, 255)
    out = image.astype(np.float32)
    for part in parts:
        points = (part @ turn.T + target) * 16
        for shade, grow, blur in ((0.45, 5, 4.0), (1.0, 0, 0.8)):  # its shadow first
            mask = np.zeros(image.shape[:2], np.uint8)
            cv2.fillPoly(mask, [points.round().astype(np.int32)], 255, cv2.LINE_AA, shift=4)
            if grow:
                mask = cv2.dilate(mask, np.ones((grow, grow), np.uint8))
            cover = cv2.GaussianBlur(mask, (0, 0), blur).astype(np.float32)[:, :, None] / 255 * (0.6 if grow else 1.0)
            out = out * (1 - cover) + colour * shade * cover
    return out.round().astype(np.uint8)


def _blurred(p: Painter) -> Made:
    """Out of focus, or moved: what is lost is seen at the size that training sees."""
    image = p.picture().image
    if p.number % 2:
        return "blurred", degrade.blur(image, float(p.rng.uniform(10, 18)))
    length = int(p.rng.integers(50, 90))
    kernel = np.zeros((length, length), np.float32)
    slope = p.rng.uniform(-0.5, 0.5) * length
    cv2.line(kernel, (0, int(length / 2 - slope)), (length - 1, int(length / 2 + slope)), 1.0, 2)
    return "blurred", cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)


def _exposure(p: Painter) -> Made:
    """Four to six stops too dark, with the noise of it; or three to four and a half too bright."""
    dark = p.number % 2 == 0
    stops = -p.rng.uniform(4, 6) if dark else p.rng.uniform(3, 4.5)
    light = (p.picture().image / 255.0) ** 2.2 * 2**stops
    image = (np.clip(light, 0, 1) ** (1 / 2.2) * 255).round().astype(np.uint8)
    return ("too dark", degrade.noise(image, 2.0, p.rng)) if dark else ("burnt out", image)


def _small_picture(p: Painter) -> Made:
    side = int(p.rng.integers(24, 45))
    return "small picture", cv2.resize(p.picture().image, (side, side), interpolation=cv2.INTER_AREA)


def _other_person(p: Painter) -> Made:
    """Somebody else; every second one somebody whom the same words describe."""
    return "other person", p.picture(p.other(matched=p.number % 2 == 1)).image


#: Kinds of bad photos; the tenth, near-duplicates, are copies of the first good one.
KINDS: dict[str, Callable[[Painter], Made]] = {
    "face count": _face_count,
    "small face": _small_face,
    "cut off": _cut_off,
    "pose": _pose,
    "covered": _covered,
    "blurred": _blurred,
    "exposure": _exposure,
    "small picture": _small_picture,
    "other person": _other_person,
}


def _copy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The same picture as another program saves it: smaller, its rim trimmed by up to 2 %, a little lighter or darker."""
    trim = rng.uniform(0, 0.02, 4) * SIZE
    top, bottom, left, right = trim.astype(int)
    part = image[top : SIZE - bottom, left : SIZE - right].astype(np.float32) * rng.uniform(0.93, 1.07)
    side = int(rng.uniform(0.5, 0.95) * SIZE)
    return cv2.resize(np.clip(part, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_AREA)


def _reduced(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Warped by a (2, 3) similarity that reduces, averaged."""
    small = cv2.resize(image, None, fx=matrix[0, 0], fy=matrix[0, 0], interpolation=cv2.INTER_AREA)
    return cv2.warpAffine(small, np.array([[1, 0, matrix[0, 2]], [0, 1, matrix[1, 2]]]), (SIZE, SIZE), flags=cv2.INTER_LINEAR)


def _save(path: Path, image: np.ndarray, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(image)).save(path, "JPEG", quality=int(rng.integers(82, 96)))
