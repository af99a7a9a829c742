"""What is measured of a photo and what follows from it: which face, lit, sharp, upright, uncovered, the same person throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from magicapture.config import Preprocess
from magicapture.faces.analysis import Face
from magicapture.faces.prepared import Picture
from magicapture.references.errors import Problem, SetAside
from magicapture.references.verdict import Finding

#: Where two colour channels are at least this bright (of 255) a picture is burnt out; one alone is the colour of a lamp.
CLIPPED = 250
#: Area that a part of the face covers at least, in squared distances of the eyes: (classes, key points in whose middle it lies, radius in
#: distances of the eyes, area). Chosen by eye on a few rendered people, well below what is in open sight.
PARTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], float, float]] = {
    "left eye": ((4, 5), (0,), 0.45, 0.06),
    "right eye": ((4, 5), (1,), 0.45, 0.06),
    "nose": ((10,), (2,), 0.6, 0.08),
    "mouth": ((11, 12, 13), (3, 4), 0.6, 0.08),
}
#: Glasses within LENS distances of the eyes from an eye are a lens; where its median is above the share CLEAR of the face's, it lets the
#: eye be seen: parsers of photographs call all of it glasses.
CLEAR, LENS = 0.6, 0.2
#: Share of an eye below which the turn is read off nose and mouth alone: the other eye would lie to one side of a face that looks ahead.
HIDDEN = 0.3
#: Distance of the eyes, in distances from eyes to mouth, up to which a face may be one seen from the side (200 upright renders: 99 % above
#: 0.9); up to CLOSE, with a part of it hidden, it is from the share SIDE of ``max_turn`` on.
ASIDE, CLOSE, SIDE = 1.0, 0.82, 0.6
_EYES, _GLASSES = ("left eye", "right eye"), 6
_FEATURES, _BELOW, _FRONT = (2, 3, 4, 5, 10, 11, 12, 13), (10, 11, 12, 13), (1, 2, 3, 4, 5, 6, 10, 11, 12, 13)


@dataclass(frozen=True)
class Measures:
    """What is measured of a photo's face.

    ``tilt`` degrees of the line of the eyes; ``slant``, their distance in distances from eyes to mouth; ``turn`` of the head, how far the
    features lie from the middle of the skin in its standard deviations along that line (0 frontal, 0.4 half turned; positive: to the
    picture's right; of nose and mouth alone where an eye is hidden); ``visible`` 0..1 of each of PARTS;
    ``brightest``, the 95th percentile of the face's grey values (0..255); ``burnt``, the share of it with two channels at CLIPPED or above;
    ``sharpness``, the variance of its Laplacian; ``side_light``, right minus left half of its skin over their mean; ``brightness``, that
    mean.
    """

    tilt: float
    slant: float
    turn: float
    visible: dict[str, float]
    brightest: float
    burnt: float
    sharpness: float
    brightness: float
    side_light: float


def numbers(measures: Measures, at: Place) -> dict[str, float]:
    """All of it in one row; of the parts the least visible."""
    kept = ("tilt", "slant", "turn", "brightest", "burnt", "sharpness", "brightness", "side_light")
    row = {name: float(getattr(measures, name)) for name in kept}
    return {"share": at.share, "gap": at.gap, "visible": min(measures.visible.values()), **row}


def check_size(image: np.ndarray, knobs: Preprocess) -> None:
    """Raise SetAside for a picture whose short side is below ``min_side``."""
    side = min(image.shape[:2])
    if side < knobs.min_side:
        raise SetAside(
            f"too small: {image.shape[1]} x {image.shape[0]} px; at least {knobs.min_side} px a side (preprocess.min_side): give the "
            "picture as the camera made it, not a preview",
            "small picture",
        )


def only_face(faces: list[Face], knobs: Preprocess) -> Face | None:
    """The one face, or None; raises SetAside when a second of comparable size stands beside it (a small one behind is no harm).

    Boxes whose centre lies inside the first one's are the same head seen twice.
    """
    if not faces:
        return None
    first = max(faces, key=lambda face: face.height)
    rivals = [
        face
        for face in faces
        if face is not first and face.height >= knobs.second_face * first.height and not first.contains((face.box[:2] + face.box[2:]) / 2)
    ]
    if rivals:
        raise SetAside(
            f"{len(rivals) + 1} faces of comparable size (preprocess.second_face {knobs.second_face:g}): it is not clear whose picture "
            "this is; cut one person out",
            "several faces",
        )
    return first


@dataclass(frozen=True)
class Place:
    """Where a face lies: ``rim``, the picture's side that it is nearest to, ``gap`` to it in heights of its box; ``share``, its height as a
    share of the picture's short side."""

    rim: str
    gap: float
    share: float


def place(face: Face, height: int, width: int) -> Place:
    """Of a face in a picture of ``height`` x ``width`` px."""
    gaps = {"left": face.box[0], "right": width - face.box[2], "top": face.box[1], "bottom": height - face.box[3]}
    rim = min(gaps, key=lambda name: float(gaps[name]))
    return Place(rim, float(gaps[rim]) / face.height, face.height / min(height, width))


def check_burnt(image: np.ndarray) -> None:
    """Raise SetAside for a picture in which no face was found and, most of it burnt out, none could be."""
    burnt = _burnt(image.reshape(-1, 3))
    if burnt > 0.5:
        reason = f"burnt out: no face found, and {burnt:.0%} of the picture is as bright as it can be; use one with less light"
        raise SetAside(reason, "burnt out")


def check_place(at: Place, knobs: Preprocess) -> None:
    """Raise SetAside for a face that the picture's rim cuts off, or that is small in it."""
    if at.gap < knobs.rim:
        raise SetAside(
            f"cut off: the face reaches the {at.rim} rim of the picture (preprocess.rim {knobs.rim:g} of its height must lie between); use "
            "a picture that shows the whole head",
            "cut off",
        )
    if at.share < knobs.far_face:
        raise SetAside(
            f"face too small: it takes {at.share:.0%} of the picture, at least {knobs.far_face:.0%} (preprocess.far_face); crop the "
            "picture around the person, or use one from nearer",
            "small face",
        )


def sharpness(image: np.ndarray, box: np.ndarray) -> float:
    """Variance of the Laplacian of the grey values (0..255) in the box, at the size training sees."""
    return float(cv2.Laplacian(_grey(image)[_inside(image, box)].astype(np.float64), cv2.CV_64F).var())


def measure(picture: Picture, lenses: bool = True) -> Measures:
    """Of a prepared picture with a face: key points, box, and a mask of the face alone that is not empty.

    ``lenses``: whether its parser calls an eye behind a clear lens glasses (:class:`magicapture.faces.parse.Parser`).
    """
    assert picture.keypoints is not None and picture.box is not None
    image, labels, mask = picture.image, picture.parsing, picture.mask
    points = picture.keypoints.astype(np.float64)
    across = points[1] - points[0]
    eyes = max(float(np.hypot(*across)), 1e-6)
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in labels.shape[::-1])), -1)
    along = grid @ (across / eyes)
    grey, visible = _grey(image), {}
    for name, (classes, at, radius, area) in PARTS.items():
        distance = np.hypot(*np.moveaxis(grid - points[list(at)].mean(0), 2, 0))
        near = distance <= radius * eyes
        lens = (distance <= LENS * eyes) & (labels == _GLASSES) if name in _EYES else np.zeros_like(near)
        clear = lenses and lens.any() and np.median(grey[lens]) > CLEAR * np.median(grey[mask])
        seen = np.isin(labels, classes) & near | (near & (labels == _GLASSES) if clear else False)
        visible[name] = min(1.0, float(seen.sum()) / eyes**2 / area)
    hidden = min(visible[name] for name in _EYES) < HIDDEN
    features, front = np.isin(labels, _BELOW if hidden else _FEATURES) & mask, np.isin(labels, _FRONT)
    turn = (along[features].mean() - along[front].mean()) / max(float(along[front].std()), 1e-6) if features.any() else 0.0
    middle = along[mask].mean()
    left, right = (float(grey[mask & half].mean()) if (mask & half).any() else 0.0 for half in (along < middle, along >= middle))
    return Measures(
        tilt=float(np.degrees(np.arctan2(across[1], across[0]))),
        slant=eyes / max(float(np.hypot(*(points[:2].mean(0) - points[3:].mean(0)))), 1e-6),
        turn=float(turn),
        visible=visible,
        brightest=float(np.percentile(grey[mask], 95)),
        burnt=_burnt(image[mask]),
        sharpness=sharpness(image, picture.box),
        brightness=(left + right) / 2,
        side_light=(right - left) / max(left + right, 1e-6) * 2,
    )


def judge(measures: Measures, knobs: Preprocess, parts: bool = True) -> list[Finding]:
    """What is wrong with a photo of the person, the severe first; empty for one without fault.

    Only for photos of the person: softness, light and pose of a reference image belong to the look, and its face is masked out.
    Brightness is judged by the face's lightest parts and by what is clipped, not by its mean, which would judge the skin. What is dark,
    burnt out or blurred is not judged further: nothing that is measured there can be trusted. ``parts``: whether the parser tells eyes,
    nose and mouth apart.
    """
    light = [
        _least(
            "too dark", measures.brightest, knobs.min_brightness, knobs,
            "too dark: 95 % of the face lies below {:.0f} of 255, expected {:g} (preprocess.min_brightness); use one taken in more light",
        ),
        _most(
            "burnt out", measures.burnt, knobs.max_burnt, knobs,
            "burnt out: {:.0%} of the face is as bright as it can be, at most {:.0%} (preprocess.max_burnt); use one with less light",
        ),
        _least(
            "blurred", measures.sharpness, knobs.min_sharpness, knobs,
            "blurred: sharpness of the face {:.1f}, at least {:g} (preprocess.min_sharpness); use one in focus, held still",
        ),
    ]  # fmt: skip
    found = [finding for finding in light if finding]
    if any(finding.severe for finding in found):
        return sorted(found, key=lambda finding: not finding.severe)
    least = knobs.min_visible if parts else 0.0
    seen = [name for name, share in measures.visible.items() if share >= least]
    if not set(seen) & set(_EYES) and len(seen) < 2:
        reason = "no face: neither an eye nor nose and mouth are seen where one was found; use a photo in which the face is clear"
        return [Finding("no face", True, reason), *found]
    hidden = min(measures.visible, key=lambda name: measures.visible[name])
    covered = _least(
        "covered", measures.visible[hidden], least, knobs,
        f"covered: of the {hidden} {{:.0%}} can be seen, at least {{:.0%}} (preprocess.min_visible); use one without sunglasses, hand or "
        "hair before the face",
    )  # fmt: skip
    close = covered is not None and covered.severe and measures.slant <= CLOSE
    of = f"{SIDE:g} of preprocess.max_turn, since the {hidden} is hidden" if close else "preprocess.max_turn"
    turned = _most(
        "turned away", abs(measures.turn), knobs.max_turn * (SIDE if close else 1.0), knobs,
        f"turned away: the face is seen from the side ({{:.2f}}, at most {{:.2g}}: {of}); use one that looks towards the camera",
    )  # fmt: skip
    tilted = _most(
        "tilted", abs(measures.tilt), knobs.max_tilt, knobs,
        "tilted: the line of the eyes stands at {:.0f} degrees, at most {:g} (preprocess.max_tilt); turn the picture upright",
    )  # fmt: skip
    pose = [tilted, turned, covered] if measures.slant <= ASIDE else [tilted, covered, turned]  # the far eye hides behind the nose
    found += [finding for finding in pose if finding]
    return sorted(found, key=lambda finding: not finding.severe)


def _least(problem: Problem, value: float, limit: float, knobs: Preprocess, reason: str) -> Finding | None:
    severe = value < limit
    near = value < limit * (1 + knobs.warn_margin)
    return Finding(problem, severe, ("" if severe else "almost ") + reason.format(value, limit)) if near else None


def _most(problem: Problem, value: float, limit: float, knobs: Preprocess, reason: str) -> Finding | None:
    severe = value > limit
    near = value > limit * (1 - knobs.warn_margin)
    return Finding(problem, severe, ("" if severe else "almost ") + reason.format(value, limit)) if near else None


def likeness_to_others(embeddings: np.ndarray) -> np.ndarray:
    """Cosine (n,) of each unit row (n, D) to the mean of the others; 1 for a single row."""
    if len(embeddings) < 2:
        return np.ones(len(embeddings))
    others = embeddings.sum(axis=0) - embeddings
    return (embeddings * others).sum(axis=1) / np.maximum(np.linalg.norm(others, axis=1), 1e-12)


def strangers(embeddings: np.ndarray, threshold: float) -> dict[int, float]:
    """Rows (n, D) that are someone else -> cosine to the mean of the others; fewer than three rows say nothing.

    The farthest goes first and the rest are judged again without it, so that a stranger does not drag others out.
    """
    out: dict[int, float] = {}
    left = list(range(len(embeddings)))
    while len(left) >= 3:
        cosines = likeness_to_others(embeddings[left])
        worst = int(cosines.argmin())
        if cosines[worst] >= threshold:
            break
        out[left.pop(worst)] = float(cosines[worst])
    return out


def spread(measured: Sequence[Measures], pictures: Sequence[Picture]) -> dict[str, float]:
    """How far a set's photos (two or more, in the same order) differ: "pose", span of the turns; "light", mean distance of brightness (in
    half the grey scale) and side of the light to their middle; "background", mean total variation 0..1 of its colours."""
    light = np.array([(m.brightness / 128, m.side_light) for m in measured])
    return {
        "pose": float(np.ptp([m.turn for m in measured])),
        "light": float(np.linalg.norm(light - light.mean(0), axis=1).mean()),
        "background": _apart([_background(picture) for picture in pictures]),
    }


def variety(measured: Sequence[Measures], pictures: Sequence[Picture], knobs: Preprocess) -> list[str]:
    """What a set of photos lacks, in sentences: poses, lights, backgrounds. Two pictures or more, in the same order."""
    found, said = spread(measured, pictures), []
    if found["pose"] < knobs.same_pose:
        said.append("all faces look the same way: add a photo turned a little to each side")
    if found["light"] < knobs.same_light:
        said.append("all faces are lit the same way: add a photo taken in another light")
    if found["background"] < knobs.same_background:
        said.append("all photos have the same background: add a photo taken elsewhere, or the background is learnt with the person")
    return said


def _background(picture: Picture) -> np.ndarray:
    """(64,) shares of coarse colours where the parser sees nobody."""
    pixels = picture.image[picture.parsing == 0] // 64
    counts = np.bincount(pixels @ [16, 4, 1], minlength=64) if len(pixels) else np.ones(64)
    return counts / counts.sum()


def _apart(shares: Sequence[np.ndarray]) -> float:
    """Mean total variation distance 0..1 of all pairs."""
    return float(np.mean([np.abs(a - b).sum() / 2 for i, a in enumerate(shares) for b in shares[:i]]))


def _burnt(pixels: np.ndarray) -> float:
    """Share of (n, 3) pixels with two channels at their end."""
    return float((np.sort(pixels, axis=1)[:, 1] >= CLIPPED).mean())


def _grey(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)


def _inside(image: np.ndarray, box: np.ndarray) -> tuple[slice, slice]:
    height, width = image.shape[:2]
    left, top = np.floor(box[:2]).astype(int).clip(0, [width - 3, height - 3])
    right, bottom = np.ceil(box[2:]).astype(int)
    return slice(top, max(bottom, top + 3)), slice(left, max(right, left + 3))
