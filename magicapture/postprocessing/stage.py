"""The postprocess stage: generated pictures in, high-resolution portraits out, each beside what it was."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from magicapture.artifacts import ArtifactError, lineage_key, read_manifest, subjects_of, write_bytes, writing
from magicapture.config import Config
from magicapture.faces.analysis import FaceDetector
from magicapture.faces.prepared import png, read_png
from magicapture.packs import load_pack
from magicapture.postprocessing.restore import Restorer
from magicapture.postprocessing.upscale import Upscaler, consistent
from magicapture.progress import progress

logger = logging.getLogger(__name__)

SCHEMA = "portraits/1"


def run(images: str | Path, out: str | Path, config: Config, only: Sequence[str] | None = None) -> Path:
    """Write the ``portraits/1`` artifact to ``out`` and return it; with ``only`` of these files, in their order.

    ``images/NNNN.png`` upscaled and restored, ``before/NNNN.png`` as generated; items are those of the ``images/1`` artifact with
    ``before``, ``size`` [width, height], ``faces`` (how many were restored) and ``note``. A picture without a face is upscaled
    only. Raises ArtifactError for another kind of folder or a damaged picture, PackError for a pack that cannot be used.
    """
    folder, knobs = Path(images), config.postprocessing
    manifest = read_manifest(folder, "images")
    pack = load_pack(config.pack)
    pack.require(*(["upscaler"] if knobs.upscale else []), *(["restorer", "detector"] if knobs.restore else []))
    upscaler = Upscaler(pack, config.device) if knobs.upscale else None
    restorer = Restorer(pack, config.device) if knobs.restore else None
    detector = FaceDetector(pack, config.device) if knobs.restore else None
    lineage = lineage_key(
        SCHEMA, manifest["lineage"], *sorted(manifest["files"].values()), config.digest("postprocessing"), pack.digest(), *(only or ())
    )
    with writing(out, SCHEMA, lineage=lineage, config=config.recorded(manifest), subjects=subjects_of(manifest)) as draft:
        items = []
        for item in progress(_chosen(manifest["content"]["items"], only), what="postprocess", unit="picture"):
            picture = read_png(folder, item["file"])
            name = Path(item["file"]).name
            write_bytes(draft.path / "before" / name, png(picture))
            result, added = picture, dict[str, Any](before=f"before/{name}", faces=0, note="")
            if upscaler is not None:
                result = consistent(upscaler.upscale(result), picture, knobs.consistency)
            if restorer is not None and detector is not None:
                faces = detector.detect(result)
                result = restorer.restore(result, faces, knobs.fidelity)
                added |= {"faces": len(faces), "note": "" if faces else "no face found: not restored"}
                if not faces:
                    logger.info("%s: no face found, not restored", name)
            write_bytes(draft.path / "images" / name, png(result))
            items.append({**item, "file": f"images/{name}", **added, "size": [result.shape[1], result.shape[0]]})
        if (folder / "training").is_dir():  # what the report shows of the training travels with the pictures
            shutil.copytree(folder / "training", draft.path / "training")
        scale = upscaler.scale if upscaler is not None else 1
        draft.content.update({**manifest["content"], "items": items, "scale": scale, "restored": knobs.restore, "fidelity": knobs.fidelity})
    return Path(out)


def _chosen(items: Sequence[dict[str, Any]], only: Sequence[str] | None) -> Sequence[dict[str, Any]]:
    if only is None:
        return items
    named = {item["file"]: item for item in items}
    unknown = [file for file in only if file not in named]
    if unknown:
        raise ArtifactError(
            f"no picture {unknown[0]!r} among {len(items)}; expected files that the images' manifest names, as {items[0]['file']!r}"
        )
    return [named[file] for file in only]
