"""The methods that the table compares, and the pairs it compares them on."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pairs import Pair
from magicapture.config import Config


@dataclass(frozen=True)
class Method:
    """A row of the table: its name, the preset below `<base>-` it starts from ("" = the base itself), knobs, the paper's figures."""

    title: str
    preset: str = ""
    knobs: tuple[str, ...] = ()
    paper: tuple[float, float, float] | None = None  # CSIM, style, aesthetic


METHODS = {
    "magicapture": Method("MagiCapture", paper=(0.566, 0.730, 6.218)),
    "no-composed": Method("without composed prompts, hence identity loss", knobs=("tuning.composed=false",), paper=(0.429, 0.717, 6.159)),
    "no-refocusing": Method("without Attention Refocusing", knobs=("tuning.lambda_attention=0",)),
    "neither": Method(
        "without composed prompts and Attention Refocusing",
        knobs=("tuning.composed=false", "tuning.lambda_attention=0"),
        paper=(0.429, 0.726, 6.178),
    ),
    "no-identity": Method("without identity loss", knobs=("tuning.lambda_identity=0",)),
    "custom-diffusion": Method("Custom Diffusion", preset="custom-diffusion", paper=(0.436, 0.606, 5.263)),
    "textual-inversion": Method("Textual Inversion", preset="textual-inversion", paper=(0.224, 0.623, 5.670)),
    "dreambooth": Method("DreamBooth", preset="dreambooth", paper=(0.102, 0.720, 5.770)),
}
PROCESSED = "magicapture, processed"
ROOMS = (
    "adapters", "backbones", "evaluation", "faces", "generation", "postprocessing", "references", "scoring", "training", "world"
)  # fmt: skip
PAPER_PROCESSED = (0.508, 0.737, 6.184)


@dataclass(frozen=True)
class Case:
    """One person in one look: where its photos, looks and artifacts lie; `pair` says who is drawn there (None: real photos)."""

    folder: Path
    photos: Path
    looks: Path
    person: str
    look: str
    pair: Pair | None = None


def seed_of(case: Case) -> int:
    """Of the pair's trainings, the same for all methods: one draw of noise and timesteps for every pair would be each method's luck."""
    return zlib.crc32(f"{case.person}/{case.look}".encode())


def code() -> str:
    """12 hex digits over the source of what makes and measures a row."""
    root, found = Path(__file__).parent.parent, hashlib.sha256()
    for pattern in (
        *(f"magicapture/{room}/**/*.py" for room in ROOMS),
        *(f"magicapture/{name}" for name in ("stages.py", "config.py", "packs/*.py")),
        *(f"benchmarks/{name}.py" for name in ("method", "methods", "method_scores", "pairs")),
    ):
        for path in sorted(root.glob(pattern)):
            found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:12]


def digest(config: Config) -> str:
    """Of all that decides a row of the table: other knobs, another row."""
    return config.digest("preprocess", "training", "inversion", "tuning", "generation", "postprocessing", "evaluation")[:12]
