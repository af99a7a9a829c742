"""The preprocess stage: folders of photos and looks in, a prepared set out.

Each picture goes through decode -> face -> square -> parsing -> verdict; then each concept (the folder, or every sub-folder of it)
through duplicates -> one person. With
``preprocess.region: object`` no face is sought: what a photo shows is where it is not transparent (``references.things``).
What fails is set aside with its reason and stops nothing, unless fewer than ``preprocess.min_pictures`` of a concept remain.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from magicapture.artifacts import lineage_key, sha256_file
from magicapture.config import Config
from magicapture.data import folder_name, local, name_subjects, pair_hash
from magicapture.faces.align import align
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import Parser, face_mask, head_mask
from magicapture.faces.prepared import SCHEMA, SETS, Picture, SetName, write
from magicapture.packs import load_pack
from magicapture.progress import progress
from magicapture.references import duplicates, quality, things
from magicapture.references.decode import Photo, decode, describe, scan_concepts
from magicapture.references.errors import ReferencesError, SetAside
from magicapture.references.framing import frame
from magicapture.references.room import widened
from magicapture.references.sheet import THUMB, Aside, render

logger = logging.getLogger(__name__)

ROLES = ("detector", "parser", "recogniser", "judge")
WHAT: Mapping[SetName, str] = {"source": "photos", "reference": "looks"}


def run(photos: str | Path, looks: str | Path, out: str | Path, config: Config, data: str = "") -> Path:
    """Write the ``prepared/1`` artifact (format: ``magicapture.faces.prepared``) to ``out`` and return it.

    Photos and looks are folders, or addresses of versioned data (``magicapture.data``), which are held to the hash ``data``, if given.
    Raises ReferencesError for a missing or empty folder or too few usable pictures (listing why each was set aside), DataError for an
    address that cannot be read, PackError for a pack that cannot be used.
    """
    with local(photos) as source, local(looks) as reference:
        if data and pair_hash(source, reference) != data:
            raise ReferencesError(f"the pictures in {photos} and {looks} are not those that this run began with ({data}); start it again")
        return _run({"source": source, "reference": reference}, Path(out), config, folder_name(photos))


def _run(folders: Mapping[SetName, Path], out: Path, config: Config, called: str) -> Path:
    """``called``: the name of the photos' folder, which of an address is not that of the copy."""
    _check_folders(folders, out)
    paths = {name: scan_concepts(folder, WHAT[name]) for name, folder in folders.items()}
    # Of every file that was given, of those that cannot be used too: they are photos of this person all the same.
    hashes = {concept: sorted({sha256_file(path) for path in own if path.is_file()}) for concept, own in paths["source"].items()}
    preparer = Preparer(config)
    kept = {name: {concept: preparer.prepare(name, found, concept) for concept, found in paths[name].items()} for name in SETS}
    _warn(preparer, kept)
    source, reference = ([candidate.picture for own in kept[name].values() for candidate in own] for name in SETS)
    if config.preprocess.region == "head":
        reference = [widened(picture, source) for picture in reference]
    embeddings = {f"source.{role}": preparer.embed(role, source) for role in ("recogniser", "judge")}
    descriptions = {key: text for name in SETS for key, text in _descriptions(name, folders[name], list(paths[name])).items()}
    return write(
        out,
        resolution=preparer.pack.resolution,
        source=source,
        reference=reference,
        embeddings=embeddings,
        set_aside=[{"set": aside.set, "name": aside.name, "reason": aside.reason} for aside in preparer.aside],
        warnings=preparer.warnings,
        descriptions={name: text for name, text in descriptions.items() if text},
        sheet=render(source, reference, preparer.aside, preparer.warnings),
        lineage=lineage_key(SCHEMA, *sorted(preparer.hashes), *descriptions.values(), config.digest("preprocess"), preparer.pack.digest()),
        config=config.model_dump(mode="json", include={"pack", "preprocess"}),
        subjects=name_subjects(hashes, called, config.promotion.subject),
    )


@dataclass(frozen=True)
class Candidate:
    """A picture that passed its own checks, and what the checks of the set need."""

    picture: Picture
    print: duplicates.Print
    thumb: np.ndarray = field(repr=False)


class Preparer:
    """Networks loaded once, and the list of what was set aside."""

    def __init__(self, config: Config) -> None:
        self.knobs = config.preprocess
        self.pack = load_pack(config.pack)
        self.objects = self.knobs.region == "object"
        if not self.objects:
            self.pack.require(*ROLES)
            self.detector = FaceDetector(self.pack, config.device, self.knobs.min_detection)
            self.parser = Parser(self.pack, config.device)
            self.embedders = {role: Embedder(self.pack, role, config.device) for role in ("recogniser", "judge")}
        self.aside: list[Aside] = []
        self.warnings: list[str] = []
        self.hashes: list[str] = []
        self.scores: list[float | None] = []

    def prepare(self, name: SetName, paths: Sequence[Path], concept: str = "", labels: Sequence[str] = ()) -> list[Candidate]:
        """The usable pictures of one concept of a set, in the order given; raises ReferencesError when too few remain.

        ``labels``: what they are called; their file names when none are given.
        """
        candidates = []
        what, inside = (f"{WHAT[name]} of {concept}", f"{concept}/") if concept else (WHAT[name], "")
        self.scores = []
        called = labels or [path.name for path in paths]
        for path, label in zip(progress(paths, what=f"preprocess {what}", unit="picture"), called):
            photo: Photo | None = None
            try:
                photo = decode(path, self.knobs.max_pixels, alpha=self.objects and name == "source")
                photo = replace(photo, name=inside + label)
                self.hashes.append(f"{name}:{inside}{photo.sha256}")
                candidate = self._candidate(name, photo)
                candidates.append(replace(candidate, picture=replace(candidate.picture, concept=concept)))
                if photo.note:
                    self.warnings.append(f"{photo.name} is {photo.note}")
            except SetAside as error:
                self._set_aside(name, inside + label, str(error), None if photo is None else _thumb(photo.image))
        candidates = self._drop(name, candidates, duplicates.find([c.print for c in candidates], self.knobs.duplicate_distance))
        if name == "source" and not self.objects:
            out = quality.strangers(self.embed("recogniser", [c.picture for c in candidates]), self.knobs.same_person)
            reason = "seems to show someone else: cosine to the other photos {:.2f}, at least {:g} (preprocess.same_person)"
            candidates = self._drop(name, candidates, {i: reason.format(cosine, self.knobs.same_person) for i, cosine in out.items()})
        doubt = self._doubt() if name == "source" and not self.objects else ""
        if len(candidates) < self.knobs.min_pictures:
            clear = "thing" if self.objects else "face"
            own = [aside for aside in self.aside if aside.set == name and aside.name.startswith(inside)]
            listed = "".join(f"\n  {aside.name}: {aside.reason}" for aside in own)
            raise ReferencesError(
                f"{what}: {len(candidates)} of {len(paths)} pictures can be used, at least {self.knobs.min_pictures} needed "
                f"(preprocess.min_pictures); add pictures in which one {clear} is clear. Set aside:{listed}{doubt and chr(10)}{doubt}"
            )
        if doubt:
            self.warnings.append(doubt)
        return candidates

    def embed(self, role: str, pictures: list[Picture]) -> np.ndarray:
        """(n, D) unit rows from the prepared pictures themselves: the same face, at the same size, as mask and key points.

        Objects have none: (0, 0).
        """
        if self.objects:
            return np.zeros((0, 0), np.float32)
        crops = [align(picture.image, picture.keypoints) for picture in pictures if picture.keypoints is not None]
        return self.embedders[role].embed(np.stack(crops) if crops else np.zeros((0, 112, 112, 3), np.uint8))

    def _candidate(self, name: SetName, photo: Photo) -> Candidate:
        quality.check_size(photo.image, self.knobs)
        if self.objects:
            picture, side, warning = things.prepare(name, photo, self.pack.resolution)
            self.warnings += [warning] if warning else []
            return Candidate(picture, duplicates.take(photo.name, photo.sha256, photo.image, side), _thumb(photo.image))
        faces = self.detector.detect(photo.image)
        self.scores.append(faces[0].score if faces else None)
        face = quality.only_face(faces, self.knobs)
        if face is None and name == "source":
            only = f" (pack {self.pack.name!r} knows {self.pack.domain} only)" if self.pack.domain else ""
            detection = f"preprocess.min_detection {self.knobs.min_detection:g}"
            raise SetAside(f"no face found ({detection}); use a photo in which the face is clear{only}")
        square = frame(photo.image.shape[0], photo.image.shape[1], face, self.knobs)
        resolution = self.pack.resolution
        image = square.cut(photo.image, resolution)
        # Parsed at the network's own detail, not at the training size: the mask's edge is finer that way.
        parsing = self.parser.parse(square.cut(photo.image, max(resolution, self.parser.size)), (resolution, resolution))
        fingerprint = duplicates.take(photo.name, photo.sha256, photo.image, square.side)
        thumb = _thumb(photo.image)
        if face is None:
            self.warnings.append(f"{photo.name} shows no face: the whole picture counts as look")
            return Candidate(Picture(photo.name, image, parsing, np.zeros(parsing.shape, bool), sha256=photo.sha256), fingerprint, thumb)
        keypoints, box = square.move(face.keypoints, resolution), square.move(face.box.reshape(2, 2), resolution).reshape(4)
        mask = face_mask(parsing, box)
        if not mask.any():
            raise SetAside("a face was found, but the parser sees no skin in it; use a picture in which the face is clear")
        sharp = quality.sharpness(image, box)
        if name == "source":
            quality.check_photo(image, mask, sharp, self.knobs)
        if self.knobs.region == "head":
            mask |= head_mask(parsing)
        return Candidate(Picture(photo.name, image, parsing, mask, keypoints, box, face.score, sharp, photo.sha256), fingerprint, thumb)

    def _doubt(self) -> str:
        """What to say when the concept's photos seem not to be of the pack's world; empty when they do, or when the pack knows photographs.

        One picture tells little: detectors of rendered faces find many real ones. The mean score of the set tells more.
        """
        usual = float(self.pack.role("detector").settings.get("usual_score", 0.5))
        found = [score for score in self.scores if score is not None]
        sure = float(np.mean(found)) if found else 0.0
        if self.pack.domain is None or (sure >= usual and 2 * len(found) >= len(self.scores)):
            return ""
        return (
            f"these may be photographs: a face was found in {len(found)} of {len(self.scores)} pictures, with a mean score of "
            f"{sure:.2f} (usual: at least {usual:g}), and pack {self.pack.name!r} knows {self.pack.domain} only. For photographs: "
            "`magicapture packs fetch sd15`, then `magicapture train PHOTOS LOOKS --preset sd15`"
        )

    def _drop(self, name: SetName, candidates: list[Candidate], reasons: Mapping[int, str]) -> list[Candidate]:
        for index, reason in sorted(reasons.items()):
            self._set_aside(name, candidates[index].picture.name, reason, candidates[index].thumb)
        return [candidate for index, candidate in enumerate(candidates) if index not in reasons]

    def _set_aside(self, name: SetName, file: str, reason: str, thumb: np.ndarray | None) -> None:
        logger.warning("%s: %s set aside: %s", WHAT[name], file, reason)
        self.aside.append(Aside(name, file, reason, thumb))


def _check_folders(folders: Mapping[SetName, Path], out: Path) -> None:
    if folders["source"].resolve() == folders["reference"].resolve():
        raise ReferencesError(f"photos and looks are the same folder ({folders['source']}); the look comes from pictures of its own")
    for name, folder in folders.items():
        if folder.resolve().is_relative_to(out.resolve()):
            raise ReferencesError(f"out ({out}) holds the {WHAT[name]} folder and would replace it; choose another folder")


def _descriptions(name: SetName, folder: Path, concepts: Sequence[str]) -> dict[str, str]:
    """What the folders say in words: "source", of one subject; "source:anna", "source:ben", of several."""
    return {f"{name}:{concept}" if len(concepts) > 1 else name: describe(folder / concept) for concept in concepts}


def _warn(preparer: Preparer, kept: Mapping[SetName, Mapping[str, Sequence[Candidate]]]) -> None:
    for name in SETS:
        for concept, own in kept[name].items():
            if len(own) == 1:
                what = f"{WHAT[name]} of {concept}" if concept else WHAT[name]
                preparer.warnings.append(f"only one usable picture in {what}: it works, 4 to 6 work better")
    source, reference = ([candidate for own in kept[name].values() for candidate in own] for name in SETS)
    photos = {candidate.picture.sha256: candidate.picture.name for candidate in source}
    for candidate in reference:
        if candidate.picture.sha256 in photos:
            preparer.warnings.append(f"{candidate.picture.name} is also among the photos ({photos[candidate.picture.sha256]})")
    for warning in preparer.warnings:
        logger.warning("%s", warning)


def _thumb(image: np.ndarray) -> np.ndarray:
    scale = THUMB / max(image.shape[:2])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
