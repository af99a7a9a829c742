"""What is measured on each picture, by networks the training never saw (except the judge, which selects)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from magicapture.faces.align import align
from magicapture.faces.analysis import Face, FaceDetector
from magicapture.faces.concepts import SOURCE_TOKEN, of_side
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import Parser, face_mask, head_mask
from magicapture.faces.prepared import PreparedItem, PreparedSet
from magicapture.packs import Pack
from magicapture.progress import progress
from magicapture.scoring import likeness
from magicapture.scoring.aesthetic import AestheticScorer
from magicapture.scoring.clip import ClipEncoder
from magicapture.scoring.style import StyleScorer

ROLES = ("clip", "aesthetic")
FACE_ROLES = ("detector", "parser", "judge", "referee")


@dataclass(frozen=True)
class Levels:
    """Referee cosines that anchor normalised likeness; None where unknown, and for objects.

    `genuine`: between different source photos where there are two or more (of several subjects the mean), else the pack's own
    (`genuine_from` says which).
    `stranger`: of matched strangers, measured when the pack was trained (`settings.stranger` of its referee): who the
    person is, and so who would be a matched stranger, cannot be known here.
    """

    genuine: float | None
    genuine_from: str
    stranger: float | None


@dataclass(frozen=True)
class Scores:
    """One picture's measures; those of a face are None where none was found, and (`face` too) where the subject is an object.

    Of a picture of several named subjects (a couple) the cosines are means over them, each with the face the judge gives to it;
    None where there are fewer faces. `head` is None there: no parser says whose hair is whose.

    `identity`: judge cosine to the source photos, -1..1, selects. `referee`: the referee's, only reported. `likeness`: the
    referee's, 0 = matched stranger, 1 = another real picture. `head`: CLIP cosine of the head with its hair to those of the
    photos, all else hidden (DreamBooth's CLIP-I on the head alone: recognisers see no hair). `style`: masked CLIP cosine.
    `aesthetic`: about 1..10. `structure`: of objects, how near in build to the photos, -1..1 (`scoring.structure`; None where the
    pack has no such role); selects as identity does. `face_count`: how many faces are found, of those as high as a share of the largest.
    """

    face: bool | None
    identity: float | None
    referee: float | None
    likeness: float | None
    style: float
    aesthetic: float
    structure: float | None = None
    head: float | None = None
    face_count: int | None = None


class Measurer:
    """The scoring networks of a pack, loaded once, and the subjects and looks they measure against."""

    def __init__(self, pack: Pack, prepared: PreparedSet, device: str = "cpu", second_face: float = 0.5) -> None:
        """`second_face`: a face at least this share of the largest one's height counts (``preprocess.second_face``).

        Raises PackError for a role that is missing or altered.
        """
        pack.require(*ROLES, *(FACE_ROLES if prepared.faces else ()))
        self.pack, self.prepared, self.second_face = pack, prepared, second_face
        clip = ClipEncoder(pack, device)
        self.clip, self.style = clip, StyleScorer(pack, encoder=clip)
        self.aesthetic = AestheticScorer(pack, encoder=clip)
        if not prepared.faces:
            from magicapture.scoring.structure import StructureScorer  # reads the room of the backbones, which faces do without

            self.structure = StructureScorer(pack, device) if "structure" in pack.roles else None
            return
        self.detector = FaceDetector(pack, device)
        self.parser = Parser(pack, device)
        self.embedders = {role: Embedder(pack, role, device) for role in ("judge", "referee")}
        crops = np.stack([align(item.image(), item.keypoints) for item in prepared.source if item.keypoints is not None])
        self.sources = {role: embedder.embed(crops) for role, embedder in self.embedders.items()}
        self.heads = clip.embed([item.image() for item in prepared.source], [~head_mask(item.parsing()) for item in prepared.source])

    def measure(self, images: Sequence[np.ndarray], tokens: Sequence[Sequence[str]] | None = None) -> list[Scores]:
        """Scores of (H, W, 3) uint8 RGB pictures, in their order; the largest face of each counts, of a picture of n subjects n.

        ``tokens``: a picture, which of several subjects and looks it is measured against (``PreparedSet.of``); none: all, as one.
        """
        named = [tuple(own) for own in tokens] if tokens is not None else [()] * len(images)
        scores: dict[int, Scores] = {}
        for own in dict.fromkeys(named):
            where = [i for i, other in enumerate(named) if other == own]
            against = self.prepared.of(own)
            shown = [images[i] for i in where]
            measured = self._faces(shown, against, of_side(own, SOURCE_TOKEN)) if against.faces else self._objects(shown, against)
            scores.update(zip(where, measured, strict=True))
        return [scores[i] for i in range(len(images))]

    @property
    def levels(self) -> Levels:
        """Of all subjects."""
        return self.levels_of(self.prepared)

    def levels_of(self, against: PreparedSet) -> Levels:
        """Of the subjects of a part of the prepared set."""
        if not against.faces:
            return Levels(None, "", None)
        referee = self.sources["referee"]
        settings = self.pack.role("referee").settings
        known = (likeness.genuine(referee[self._rows(against.of([token]))]) for token in against.tokens("source"))
        own = [level for level in known if level is not None]
        stranger = settings.get("stranger")
        given = float(np.mean(own)) if own else settings.get("genuine")
        return Levels(
            genuine=None if given is None else float(given),
            genuine_from="photos" if own else "pack",
            stranger=None if stranger is None else float(stranger),
        )

    def _rows(self, against: PreparedSet) -> list[int]:
        """Rows of `sources` and `heads` that are of a part of the prepared set."""
        files = {item.file for item in against.source}
        return [i for i, item in enumerate(self.prepared.source) if item.file in files]

    def _faces(self, images: Sequence[np.ndarray], against: PreparedSet, subjects: Sequence[str]) -> list[Scores]:
        people = [self._rows(against.of([token])) for token in subjects] if len(subjects) > 1 else [self._rows(against)]
        levels = self.levels_of(against)
        detected = [self.detector.detect(image) for image in progress(images, what="evaluation, faces", unit="picture")]
        counts = [sum(face.height >= self.second_face * faces[0].height for face in faces) for faces in detected]
        found = [faces[: len(people)] for faces in detected]
        masks, heads = self._masks(images, found)
        where = [i for i, faces in enumerate(found) if len(faces) == len(people)]
        cosine: dict[str, dict[int, float]] = {role: {} for role in (*self.embedders, "head")}
        if where:
            if len(people) == 1:
                shown = self.clip.embed([images[i] for i in where], [~heads[i] for i in where])
                cosine["head"] = dict(zip(where, likeness.csim(shown, self.heads[people[0]]).tolist(), strict=True))
            crops = np.stack([align(images[i], face.keypoints) for i in where for face in found[i]])
            tables = {role: self._table(role, crops, people) for role in self.embedders}
            order = [likeness.assigned(table) for table in tables["judge"]]
            for role, table in tables.items():
                means = [float(one[faces, np.arange(len(people))].mean()) for one, faces in zip(table, order, strict=True)]
                cosine[role] = dict(zip(where, means, strict=True))
        looks = against.reference
        # Faces alone are hidden in both, whatever training leaves out of a look (preprocess.region).
        style = self.style.score(images, masks, [item.image() for item in looks], face_masks(looks))
        aesthetic = self.aesthetic.score(images)
        return [
            Scores(
                face=i in where,
                identity=cosine["judge"].get(i),
                referee=cosine["referee"].get(i),
                likeness=_likeness(cosine["referee"].get(i), levels),
                style=float(style[i]),
                aesthetic=float(aesthetic[i]),
                head=cosine["head"].get(i),
                face_count=counts[i],
            )
            for i in range(len(images))
        ]

    def _table(self, role: str, crops: np.ndarray, people: Sequence[Sequence[int]]) -> np.ndarray:
        """(n, k, k) cosines of each of k faces of n pictures (``crops`` of all, in a row) to the photos of each of k people."""
        rows = self.embedders[role].embed(crops)
        return np.stack([likeness.csim(rows, self.sources[role][own]) for own in people], 1).reshape(-1, len(people), len(people))

    def find(self, images: Sequence[np.ndarray], count: int = 1) -> tuple[list[list[Face]], list[np.ndarray], list[np.ndarray]]:
        """The ``count`` largest faces of each picture, or fewer, with bool masks (H, W) of these faces and of all heads."""
        found = [self.detector.detect(image)[:count] for image in images]
        return found, *self._masks(images, found)

    def _masks(self, images: Sequence[np.ndarray], found: Sequence[Sequence[Face]]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        nothing = [np.zeros(image.shape[:2], bool) for image in images]
        masks, heads = list(nothing), list(nothing)
        for i, faces in enumerate(found):
            if faces:
                parsing = self.parser.parse(images[i])
                masks[i] = np.logical_or.reduce([face_mask(parsing, face.box) for face in faces])
                heads[i] = head_mask(parsing)
        return masks, heads

    def _objects(self, images: Sequence[np.ndarray], against: PreparedSet) -> list[Scores]:
        looks = [item.image() for item in against.reference]
        whole, shown = ([np.zeros(image.shape[:2], bool) for image in part] for part in (looks, images))
        style, aesthetic = self.style.score(images, shown, looks, whole), self.aesthetic.score(images)
        structure: Sequence[float | None] = [None] * len(images)
        if self.structure is not None:
            structure = self.structure.score(images, [item.image() for item in against.source], looks).structure.tolist()
        return [Scores(None, None, None, None, float(s), float(a), b) for s, a, b in zip(style, aesthetic, structure, strict=True)]


def _likeness(cosine: float | None, levels: Levels) -> float | None:
    genuine, stranger = levels.genuine, levels.stranger
    if cosine is None or genuine is None or stranger is None or not likeness.separable(genuine, stranger):
        return None
    return float(likeness.normalised(np.array(cosine), genuine, stranger))


def face_masks(items: Sequence[PreparedItem]) -> list[np.ndarray]:
    """Faces alone (H, W) bool of prepared pictures, whatever ``preprocess.region`` adds to their masks; all False without a face."""
    parsings = [item.parsing() for item in items]
    return [np.zeros(p.shape, bool) if item.box is None else face_mask(p, item.box) for p, item in zip(parsings, items, strict=True)]


def rows(items: Sequence[dict[str, object]], scores: Sequence[Scores]) -> list[dict[str, object]]:
    """The items of a pictures' manifest with their scores, floats rounded to 5 digits."""
    measured = ({name: round(value, 5) if isinstance(value, float) else value for name, value in asdict(score).items()} for score in scores)
    return [{**item, **values} for item, values in zip(items, measured, strict=True)]
