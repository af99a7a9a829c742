"""The prepared set: what preprocessing writes and training and evaluation read (artifact ``prepared/1``).

It stands in the shared room because stage rooms do not import one another::

    prepared = PreparedSet.load("runs/anna/prepared")
    for item in prepared.source:
        item.image(), item.mask(), item.keypoints
    prepared.embeddings("recogniser")          # (photos, dimensions), rows in the order of prepared.source

Files: ``source/<i>.png``, ``reference/<i>.png`` (RGB, resolution x resolution), beside each ``<i>.mask.png`` (0 or 255) and
``<i>.parsing.png`` (class 0..18), ``embeddings.safetensors`` (``"<set>.<role>"`` -> (n, D) float32, unit rows) and ``sheet.html``.
Items stand concept after concept (a set may be of several subjects or looks), concepts in the order of their names.
Everything is in the pixels of the prepared picture. The mask is the *face* in both sets (with the hair, where ``preprocess.region``
is "head", and in reference images with room for the person's own); the non-facial region of a reference image (the paper's ``Mr``)
is its complement. Of an object (region "object") it is the thing itself in the photos and empty in the looks; there are no key points,
no boxes and no embeddings, and ``parsing`` is 0 everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from safetensors.numpy import load_file, save_file

from magicapture.artifacts import MANIFEST, ArtifactError, read_manifest, within, write_bytes, write_text, writing
from magicapture.faces import concepts

KIND = "prepared"
SCHEMA = "prepared/1"
SetName = Literal["source", "reference"]
SETS: tuple[SetName, SetName] = ("source", "reference")
EMBEDDINGS = "embeddings.safetensors"
SHEET = "sheet.html"


@dataclass(frozen=True)
class Picture:
    """One picture about to be written; arrays share the picture's (resolution, resolution) grid.

    ``image`` (R, R, 3) uint8 RGB; ``parsing`` (R, R) uint8 classes; ``mask`` (R, R) bool, the face; ``keypoints`` (5, 2)
    px and ``box`` (left, top, right, bottom) px, both None for a look without a face; ``score`` of the detector 0..1;
    ``sharpness`` variance of the Laplacian; ``sha256`` of the photo's own bytes; ``concept``: the sub-folder it lay in, or "".
    """

    name: str
    image: np.ndarray
    parsing: np.ndarray
    mask: np.ndarray
    keypoints: np.ndarray | None = None
    box: np.ndarray | None = None
    score: float | None = None
    sharpness: float | None = None
    sha256: str = ""
    concept: str = ""


@dataclass(frozen=True)
class PreparedItem:
    """One prepared picture on disk; the arrays are read when asked for, and raise what :func:`read_png` does."""

    folder: Path
    name: str
    file: str
    mask_file: str
    parsing_file: str
    keypoints: np.ndarray | None
    box: np.ndarray | None
    score: float | None
    sharpness: float | None
    sha256: str
    concept: str = ""

    def image(self) -> np.ndarray:
        """(R, R, 3) uint8 RGB."""
        return read_png(self.folder, self.file)

    def mask(self) -> np.ndarray:
        """(R, R) bool: the face. All False for a look without a face."""
        return np.array(_opened(self.folder, self.mask_file).convert("L")) > 127

    def parsing(self) -> np.ndarray:
        """(R, R) uint8: class of each pixel, the order of ``faces.classes.PARSING_CLASSES``."""
        return np.array(_opened(self.folder, self.parsing_file))


@dataclass(frozen=True)
class PreparedSet:
    """A ``prepared/1`` artifact opened for reading."""

    folder: Path
    resolution: int
    source: tuple[PreparedItem, ...]
    reference: tuple[PreparedItem, ...]
    set_aside: tuple[dict[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    descriptions: Mapping[str, str] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, folder: str | Path, *, verify: bool = False) -> PreparedSet:
        """Open the artifact; ``verify`` also checks every file's hash. Raises ArtifactError."""
        folder = Path(folder)
        manifest = read_manifest(folder, KIND, verify=verify)
        content = manifest["content"]
        items = {name: tuple(_item(folder, entry) for entry in content[name]) for name in SETS}
        return cls(
            folder=folder,
            resolution=int(content["resolution"]),
            source=items["source"],
            reference=items["reference"],
            set_aside=tuple(content.get("set_aside", ())),
            warnings=tuple(content.get("warnings", ())),
            descriptions=dict(content.get("descriptions", {})),
            manifest=manifest,
        )

    @property
    def lineage(self) -> str:
        """The key of data + configuration + code this set was made from."""
        return str(self.manifest.get("lineage", ""))

    @property
    def faces(self) -> bool:
        """Whether the photos show a person's face; not so where they were prepared as pictures of an object."""
        return any(item.keypoints is not None for item in self.source)

    def concepts(self, set: SetName) -> tuple[str, ...]:
        """Names of the set's subjects or looks, in order; "" is the one of a flat folder."""
        return tuple(dict.fromkeys(item.concept for item in getattr(self, set)))

    def tokens(self, set: SetName) -> tuple[str, ...]:
        """The token of each of :meth:`concepts` in prompts."""
        return concepts.tokens_of(self.concepts(set), concepts.TOKENS[SETS.index(set)])

    def of(self, tokens: Collection[str]) -> PreparedSet:
        """Only the pictures of the concepts with these tokens; of a set none of whose concepts is among them, all."""

        def chosen(name: SetName) -> tuple[PreparedItem, ...]:
            items: tuple[PreparedItem, ...] = getattr(self, name)
            own = {concept for concept, token in zip(self.concepts(name), self.tokens(name), strict=True) if token in tokens}
            return tuple(item for item in items if not own or item.concept in own)

        return replace(self, source=chosen("source"), reference=chosen("reference"))

    def embeddings(self, role: str = "recogniser", set: SetName = "source") -> np.ndarray:
        """(n, D) float32 unit rows, in the order of the set; no row for objects. Raises ArtifactError for a pair that was not written."""
        path = self.folder / EMBEDDINGS
        if not path.is_file():
            raise ArtifactError(f"{self.folder}: {EMBEDDINGS} is missing; run preprocess again")
        tensors = load_file(path)
        key = f"{set}.{role}"
        if key not in tensors:
            raise ArtifactError(f"{path}: no {key!r}; it holds {', '.join(sorted(tensors))}")
        stored = [entry["file"] for entry in self.manifest["content"][set] if entry["keypoints"] is not None]
        mine = {item.file for item in getattr(self, set)}
        return tensors[key][np.array([file in mine for file in stored], bool)]


def write(
    out: str | Path,
    *,
    resolution: int,
    source: Sequence[Picture],
    reference: Sequence[Picture],
    embeddings: Mapping[str, np.ndarray],
    set_aside: Sequence[Mapping[str, str]] = (),
    warnings: Sequence[str] = (),
    descriptions: Mapping[str, str] | None = None,
    sheet: str = "",
    lineage: str = "",
    config: Mapping[str, Any] | None = None,
    subjects: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write a prepared set atomically and return its folder; raises ValueError for arrays that do not fit the resolution.

    ``embeddings`` maps ``"source.recogniser"`` and the like to (n, D): a row for every picture with a face, in the order of the set.
    ``subjects``: whose photos they are (``artifacts.writing``).
    """
    sets: dict[str, Sequence[Picture]] = {"source": source, "reference": reference}
    for key, array in embeddings.items():
        count = sum(picture.keypoints is not None for picture in sets[key.partition(".")[0]])
        if array.ndim != 2 or len(array) != count:
            raise ValueError(f"embeddings {key!r}: expected {count} rows, got an array of shape {array.shape}")
    with writing(out, SCHEMA, lineage=lineage, config=config, subjects=subjects) as draft:
        draft.content.update(
            resolution=resolution,
            **{name: [_save(draft.path, name, i, picture, resolution) for i, picture in enumerate(sets[name])] for name in SETS},
            set_aside=[dict(entry) for entry in set_aside],
            warnings=list(warnings),
            descriptions=dict(descriptions or {}),
        )
        save_file({key: np.ascontiguousarray(array, np.float32) for key, array in embeddings.items()}, draft.path / EMBEDDINGS)
        if sheet:
            write_text(draft.path / SHEET, sheet)
    return Path(out)


def png(array: np.ndarray) -> bytes:
    """PNG bytes of an (H, W, 3) or (H, W) uint8 array."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "png")
    return buffer.getvalue()


def read_png(folder: Path, name: str) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a PNG that an artifact's manifest names.

    Raises ArtifactError for a file that is missing or damaged, and for a name that leads out of the folder: manifests may be a stranger's.
    """
    return np.array(_opened(folder, name).convert("RGB"))


def _opened(folder: Path, name: str) -> Image.Image:
    path = within(folder, name)
    if not path.is_file():
        raise ArtifactError(f"{folder}: {name} is named in {MANIFEST} but missing; run the stage that writes it again")
    try:
        picture = Image.open(path, formats=("PNG",))
        picture.load()
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ArtifactError(f"{path} cannot be read as a picture ({error}); run the stage that writes it again") from error
    return picture


def _save(folder: Path, name: str, index: int, picture: Picture, resolution: int) -> dict[str, Any]:
    square = (resolution, resolution)
    for what, shape in (("image", picture.image.shape[:2]), ("mask", picture.mask.shape), ("parsing", picture.parsing.shape)):
        if tuple(shape) != square:
            raise ValueError(f"{picture.name}: {what} is {tuple(shape)}, expected {square}")
    stem = f"{name}/{index}"
    write_bytes(folder / f"{stem}.png", png(picture.image))
    write_bytes(folder / f"{stem}.mask.png", png(picture.mask.astype(np.uint8) * 255))
    write_bytes(folder / f"{stem}.parsing.png", png(picture.parsing.astype(np.uint8)))
    return {
        "name": picture.name,
        "file": f"{stem}.png",
        "mask": f"{stem}.mask.png",
        "parsing": f"{stem}.parsing.png",
        "keypoints": _numbers(picture.keypoints),
        "box": _numbers(picture.box),
        "score": None if picture.score is None else round(float(picture.score), 5),
        "sharpness": None if picture.sharpness is None else round(float(picture.sharpness), 3),
        "sha256": picture.sha256,
        "concept": picture.concept,
    }


def _item(folder: Path, entry: Mapping[str, Any]) -> PreparedItem:
    keypoints, box = (None if entry[key] is None else np.array(entry[key], np.float32) for key in ("keypoints", "box"))
    return PreparedItem(
        folder, entry["name"], entry["file"], entry["mask"], entry["parsing"], keypoints, box,
        entry.get("score"), entry.get("sharpness"), entry.get("sha256", ""), entry.get("concept", ""),
    )  # fmt: skip


def _numbers(array: np.ndarray | None) -> list[Any] | None:
    return None if array is None else np.round(np.asarray(array, np.float64), 3).tolist()
