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

import numpy as np

from magicapture.artifacts import legible, lineage_key
from magicapture.config import Config
from magicapture.data import folder_name, local, name_subjects, pair_hash, photo_hashes
from magicapture.faces.align import align
from magicapture.faces.analysis import Face, FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import Parser, face_mask, head_mask
from magicapture.faces.prepared import SCHEMA, SETS, Picture, SetName, write
from magicapture.packs import load_pack
from magicapture.progress import progress
from magicapture.references import duplicates, quality, second_look, things
from magicapture.references.decode import Photo, check_folders, decode, describe, scan_concepts
from magicapture.references.errors import ReferencesError, SetAside
from magicapture.references.framing import frame
from magicapture.references.room import widened
from magicapture.references.sheet import render, thumbnail
from magicapture.references.verdict import Finding, Verdict

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
    check_folders(folders["source"], folders["reference"], out)
    paths = {name: scan_concepts(folder, WHAT[name]) for name, folder in folders.items()}
    hashes = {concept: photo_hashes(own) for concept, own in paths["source"].items()}
    subjects = name_subjects(hashes, called, config.promotion.subject)
    preparer = Preparer(config)
    kept = {name: {concept: preparer.prepare(name, found, concept) for concept, found in paths[name].items()} for name in SETS}
    _warn(preparer, kept)
    advice = [sentence for name in SETS for own in kept[name].values() for sentence in preparer.advice(name, own)]
    source, reference = ([candidate.picture for own in kept[name].values() for candidate in own] for name in SETS)
    if config.preprocess.region == "head":
        reference = [widened(picture, source) for picture in reference]
    shown = {("reference", picture.name): picture for picture in reference}
    verdicts = [replace(verdict, picture=shown.get((verdict.set, verdict.name), verdict.picture)) for verdict in preparer.verdicts]
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
        sheet=render(verdicts, preparer.warnings, advice, subjects=subjects),
        lineage=lineage_key(SCHEMA, *sorted(preparer.hashes), *descriptions.values(), config.digest("preprocess"), preparer.pack.digest()),
        config=config.model_dump(mode="json", include={"pack", "preprocess"}),
        subjects=subjects,
    )


@dataclass(frozen=True)
class Candidate:
    """A picture that could be prepared, what was found and measured of it, and what the checks of the set need."""

    picture: Picture
    print: duplicates.Print
    thumb: np.ndarray = field(repr=False)
    findings: tuple[Finding, ...] = ()
    measures: quality.Measures | None = None
    place: quality.Place | None = None

    def verdict(self, name: SetName, *more: Finding, **measured: float) -> Verdict:
        """With what the checks of the set found and measured besides."""
        numbers = quality.numbers(self.measures, self.place) if self.measures and self.place else {}
        return Verdict(name, self.picture.name, (*more, *self.findings), numbers | measured, self.picture, self.thumb)


class Preparer:
    """Networks loaded once, and what was said of every picture."""

    def __init__(self, config: Config) -> None:
        self.knobs = config.preprocess
        self.config = config
        self.pack = load_pack(config.pack)
        self.objects = self.knobs.region == "object"
        self.embedders: dict[str, Embedder] = {}
        if not self.objects:
            self.pack.require(*ROLES)
            self.detector = FaceDetector(self.pack, config.device, self.knobs.min_detection)
            self.parser = Parser(self.pack, config.device)
        self.verdicts: list[Verdict] = []
        self.warnings: list[str] = []
        self.hashes: list[str] = []
        self.scores: list[float | None] = []

    @property
    def aside(self) -> list[Verdict]:
        """What was set aside."""
        return [verdict for verdict in self.verdicts if verdict.severe]

    def prepare(self, name: SetName, paths: Sequence[Path], concept: str = "", labels: Sequence[str] = ()) -> list[Candidate]:
        """As :meth:`judge`; raises ReferencesError when fewer than ``preprocess.min_pictures`` remain."""
        before = len(self.verdicts)
        candidates = self.judge(name, paths, concept, labels)
        doubt = self._doubt() if name == "source" and not self.objects else ""
        if len(candidates) < self.knobs.min_pictures:
            what, clear = f"{WHAT[name]} of {concept}" if concept else WHAT[name], "thing" if self.objects else "face"
            own = [verdict for verdict in self.verdicts[before:] if verdict.severe]
            listed = "".join(f"\n  {aside.name}: {aside.reason}" for aside in own)
            raise ReferencesError(
                f"{what}: {len(candidates)} of {len(paths)} pictures can be used, at least {self.knobs.min_pictures} needed "
                f"(preprocess.min_pictures); add pictures in which one {clear} is clear. Set aside:{listed}{doubt and chr(10)}{doubt}"
            )
        return candidates

    def judge(self, name: SetName, paths: Sequence[Path], concept: str = "", labels: Sequence[str] = ()) -> list[Candidate]:
        """The usable pictures of one concept of a set, in the order given; what is said of each comes to ``verdicts`` in that order.

        ``labels``: what they are called; their file names when none are given.
        """
        inside = f"{concept}/" if concept else ""
        called = [legible(inside + label) for label in labels or [path.name for path in paths]]
        said: dict[str, Verdict] = {}
        candidates = []
        self.scores = []
        what = f"preprocess {WHAT[name]}{concept and ' of '}{concept}"
        for path, label in zip(progress(paths, what=what, unit="picture"), called, strict=True):
            photo: Photo | None = None
            faces: list[Face] = []
            try:
                photo = replace(decode(path, self.knobs.max_pixels, alpha=self.objects and name == "source"), name=label)
                self.hashes.append(f"{name}:{inside}{photo.sha256}")
                candidate = self._candidate(name, photo, faces)
                candidate = replace(candidate, picture=replace(candidate.picture, concept=concept))
                said[label] = candidate.verdict(name)
                candidates += [] if said[label].severe else [candidate]
            except SetAside as error:
                thumb = None if photo is None else thumbnail(photo.image, faces)
                said[label] = Verdict(name, label, (Finding(error.problem, True, str(error)),), thumb=thumb)
        candidates = self._without_twins(name, candidates, said)
        if name == "source" and not self.objects:
            candidates = self._one_person(name, candidates, said)
        for label in called:
            verdict = said[label]
            if verdict.severe:
                logger.warning("%s: %s set aside: %s", WHAT[name], label, verdict.reason)
            self.warnings += [f"{label} {finding.reason}" for finding in verdict.findings if not verdict.severe]
        self.verdicts += [said[label] for label in called]
        doubt = self._doubt() if name == "source" and not self.objects else ""
        self.warnings += [doubt] if doubt else []
        return candidates

    def advice(self, name: SetName, candidates: Sequence[Candidate]) -> list[str]:
        """What the usable pictures of one concept lack: number, and of photos of a person poses, lights, backgrounds."""
        few = len(candidates) < self.knobs.advised_pictures
        said = (
            [f"{len(candidates)} usable {WHAT[name]}: {self.knobs.advised_pictures} to 6 work better (preprocess.advised_pictures)"]
            if few
            else []
        )
        measured = [(c.measures, c.picture) for c in candidates if c.measures]
        if name == "source" and len(measured) > 1:
            said += quality.variety([m for m, _ in measured], [p for _, p in measured], self.knobs)
        return said

    def _without_twins(self, name: SetName, candidates: list[Candidate], said: dict[str, Verdict]) -> list[Candidate]:
        out = duplicates.find([c.print for c in candidates], self.knobs.duplicate_distance)
        for index, reason in out.items():
            twin = candidates[index]
            said[twin.picture.name] = twin.verdict(name, Finding("duplicate", True, reason))
        return [candidate for index, candidate in enumerate(candidates) if index not in out]

    def _one_person(self, name: SetName, candidates: list[Candidate], said: dict[str, Verdict]) -> list[Candidate]:
        embeddings, limit = self.embed("recogniser", [c.picture for c in candidates]), self.knobs.same_person
        out = quality.strangers(embeddings, limit)
        kept = [index for index in range(len(candidates)) if index not in out]
        near = dict(zip(kept, quality.likeness_to_others(embeddings[kept]).tolist(), strict=True)) if len(kept) > 2 else {}
        reason = "seems to show someone else: cosine to the other photos {:.2f}, at least {:g} (preprocess.same_person); leave it out"
        for index, cosine in (out | near).items():
            doubtful = index in out or cosine < limit + abs(limit) * self.knobs.warn_margin
            text = ("" if index in out else "almost ") + reason.format(cosine, limit)
            more = [Finding("other person", index in out, text)] if doubtful else []
            said[candidates[index].picture.name] = candidates[index].verdict(name, *more, likeness=cosine)
        return [candidates[index] for index in kept]

    def embed(self, role: str, pictures: list[Picture]) -> np.ndarray:
        """(n, D) unit rows from the prepared pictures themselves: the same face, at the same size, as mask and key points.

        Objects have none: (0, 0).
        """
        if self.objects:
            return np.zeros((0, 0), np.float32)
        crops = [align(picture.image, picture.keypoints) for picture in pictures if picture.keypoints is not None]
        if role not in self.embedders:
            self.embedders[role] = Embedder(self.pack, role, self.config.device)
        return self.embedders[role].embed(np.stack(crops) if crops else np.zeros((0, 112, 112, 3), np.uint8))

    def _candidate(self, name: SetName, photo: Photo, seen: list[Face]) -> Candidate:
        """One picture, judged by itself; the faces found in it come to ``seen``. Raises SetAside for one that cannot be prepared."""
        quality.check_size(photo.image, self.knobs)
        notes = [f"is {photo.note}"] if photo.note else []
        if self.objects:
            picture, side, warning = things.prepare(name, photo, self.pack.resolution)
            findings = tuple(Finding("note", False, text) for text in (*notes, warning) if text)
            return Candidate(picture, duplicates.take(photo.name, photo.sha256, photo.image, side), thumbnail(photo.image, []), findings)
        seen += self.detector.detect(photo.image)
        self.scores.append(seen[0].score if seen else None)
        height, width = photo.image.shape[:2]
        if name == "source":
            if len(seen) > 1:
                self._check_upright(photo, seen[0])  # in what lies on its side several may be seen
            small = all(face.height < self.knobs.far_face * min(height, width) for face in seen)
            if len(seen) > 1:
                seen[:] = second_look.with_skin(self.parser, photo.image, seen)
            if len(seen) == 1 and small:
                seen.clear()  # a person that far away is seen better from near, or was none
            if not seen:
                self._look_again(photo, seen)
        face = quality.only_face(seen, self.knobs)
        at = quality.place(face, height, width) if face else None
        if at is not None and name == "source":
            quality.check_place(at, self.knobs)
        square = frame(height, width, face, self.knobs)
        resolution = self.pack.resolution
        image = square.cut(photo.image, resolution)
        # Parsed at the network's own detail, not at the training size: the mask's edge is finer that way.
        parsing = self.parser.parse(square.cut(photo.image, max(resolution, self.parser.size)), (resolution, resolution))
        fingerprint = duplicates.take(photo.name, photo.sha256, photo.image, square.side)
        thumb = thumbnail(photo.image, seen)
        if face is None:
            notes.append("shows no face: the whole picture counts as look")
            picture = Picture(photo.name, image, parsing, np.zeros(parsing.shape, bool), sha256=photo.sha256)
            return Candidate(picture, fingerprint, thumb, tuple(Finding("note", False, text) for text in notes))
        keypoints, box = square.move(face.keypoints, resolution), square.move(face.box.reshape(2, 2), resolution).reshape(4)
        mask = face_mask(parsing, box)
        if not mask.any():
            raise SetAside("a face was found, but the parser sees no skin in it; use a picture in which the face is clear", "no face")
        sharp = quality.sharpness(image, box)
        picture = Picture(photo.name, image, parsing, mask, keypoints, box, face.score, sharp, photo.sha256)
        measures = quality.measure(picture, self.parser.lenses)
        findings = tuple(quality.judge(measures, self.knobs, self.parser.parts)) if name == "source" else ()
        if any(finding.problem in ("tilted", "turned away", "covered", "no face") for finding in findings):
            self._check_upright(photo, face)  # what lies on its side looks like that too
        if self.knobs.region == "head":
            picture = replace(picture, mask=mask | head_mask(parsing))
        return Candidate(picture, fingerprint, thumb, (*findings, *(Finding("note", False, text) for text in notes)), measures, at)

    def _look_again(self, photo: Photo, faces: list[Face]) -> None:
        """Raise SetAside for a photo that lies on its side or shows no face; one that is found only from near comes to ``faces``."""
        self._check_upright(photo, None)
        far = second_look.far_face(self.detector, self.parser, photo.image)
        if far is not None:
            faces.append(far)
            return
        quality.check_burnt(photo.image)
        only = f" (pack {self.pack.name!r} knows {self.pack.domain} only)" if self.pack.domain else ""
        detection = f"preprocess.min_detection {self.knobs.min_detection:g}"
        raise SetAside(f"no face found ({detection}); use a photo in which the face is clear{only}", "no face")

    def _check_upright(self, photo: Photo, upright: Face | None) -> None:
        turn = second_look.quarter_turn(self.detector, photo.image, upright)
        if turn:
            raise SetAside(f"tilted: the picture stands upright when turned by {turn} degrees clockwise; turn it", "tilted")

    def _doubt(self) -> str:
        """What to say when the concept's photos seem not to be of the pack's world; empty when they do, or when the pack knows photographs.

        One picture tells little: detectors of rendered faces find many real ones. The mean score of the set tells more.
        """
        usual = float(self.pack.role("detector").settings.get("usual_score", 0.5))
        if not self.scores:
            return ""  # no picture was looked at
        found = [score for score in self.scores if score is not None]
        sure = float(np.mean(found)) if found else 0.0
        if self.pack.domain is None or (sure >= usual and 2 * len(found) >= len(self.scores)):
            return ""
        return (
            f"these may be photographs: a face was found in {len(found)} of {len(self.scores)} pictures, with a mean score of "
            f"{sure:.2f} (usual: at least {usual:g}), and pack {self.pack.name!r} knows {self.pack.domain} only. For photographs: "
            "`magicapture packs fetch sd15`, then `magicapture train PHOTOS LOOKS --preset sd15`"
        )


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
