"""The stage itself: pictures and prepared set in, scores, ranking and report out."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from magicapture.artifacts import ArtifactError, kind_of, lineage_key, read_manifest, subjects_of, within, write_json, write_text, writing
from magicapture.config import Config, load_config
from magicapture.evaluation import ranking, report
from magicapture.evaluation.measure import Measurer, rows
from magicapture.faces.prepared import PreparedSet, read_png
from magicapture.packs import load_pack, require_independent
from magicapture.scoring import SCORER_VERSION

SCHEMA = "evaluation/1"
logger = logging.getLogger(__name__)


def run(images: str | Path, prepared: str | Path, out: str | Path, config: Config) -> Path:
    """Score, rank and report the pictures of a ``portraits/1`` or ``images/1`` artifact against a ``prepared/1`` set.

    Writes ``evaluation/1`` to `out` and returns it. Raises ArtifactError, and PackError also where judge or referee is the network that
    the adapter was trained against (unless ``evaluation.allow_trained_network``).
    """
    images, out = Path(images), Path(out)
    manifest = _read(images)
    items: list[dict[str, Any]] = manifest["content"]["items"]
    if not any(item["kind"] == "portrait" for item in items):
        raise ArtifactError(f"{images}: no picture of kind 'portrait' among {len(items)}; generate some first")
    sources = PreparedSet.load(prepared, verify=True)
    # What this configuration does not say, the pictures' and the photos' own do.
    config = load_config(config.recorded(sources.manifest, manifest), partial=True)
    pack = load_pack(config.pack)
    adapter = manifest["content"].get("adapter", {})
    networks = adapter.get("recognisers") or [adapter.get("recogniser")]  # several: of an adapter that was merged
    allow = config.evaluation.allow_trained_network
    pleased = sorted({role for network in networks for role in require_independent(pack, network, allow)})
    if pleased:
        logger.warning("%s: the network trained against; its scores say nothing of likeness", " and ".join(pleased))
    measurer = Measurer(pack, sources, config.device, config.preprocess.second_face)
    scores = measurer.measure([read_png(images, item["file"]) for item in items], [item.get("tokens", ()) for item in items])
    ranked = ranking.rank(rows(items, scores), config.evaluation)
    result = {
        "protocol": ranking.protocol(
            ranked,
            pack_digest=pack.digest(),
            pictures=[item.sha256 for item in (*sources.source, *sources.reference)],
            preprocess=sources.manifest["config"].get("preprocess"),
            weights=config.evaluation,
            scorer=SCORER_VERSION,
            postprocessing=_postprocessing(manifest, config),
            trained_against=pleased,
        ),
        "scorer": SCORER_VERSION,
        "trained_against": pleased,
        "levels": asdict(measurer.levels),
        "items": ranked,
        "sets": ranking.summaries(ranked),
        "pairs": [
            {"tokens": list(tokens), "levels": asdict(measurer.levels_of(sources.of(tokens))), "sets": ranking.summaries(own)}
            for tokens, own in ranking.by_tokens(ranked).items()
            if tokens
        ],
    }
    best = next(row for row in ranked if row["kind"] == "portrait")
    lineage = lineage_key(manifest["lineage"], sources.lineage, pack.digest(), config.digest("evaluation"), SCORER_VERSION)
    whose = subjects_of(manifest, sources.manifest)
    with writing(out, SCHEMA, lineage=lineage, config=config.recorded(), subjects=whose) as draft:
        _copy(images, draft.path, items)
        write_json(draft.path / "scores.json", result)
        page = report.render(images=images, manifest=manifest, prepared=sources, result=result, config=config, pack=pack, lineage=lineage)
        write_text(draft.path / "report.html", page)
        draft.content.update(
            protocol=result["protocol"],
            **ranking.better_half(ranked),
            best=best["file"],
            adapter=adapter,
            sets=result["sets"],
            levels=result["levels"],
        )
    logger.info("evaluated %d pictures; best %s, identity %s; %s", len(items), best["file"], best["identity"], out / "report.html")
    return out


def _read(folder: Path) -> dict[str, Any]:
    return read_manifest(folder, "images" if kind_of(folder) == "images" else "portraits", verify=True)


def _postprocessing(manifest: dict[str, Any], config: Config) -> dict[str, Any] | None:
    """What post-processing the pictures went through: as their own manifest says, else as configured; None for ``images/1``."""
    if manifest["schema"].startswith("images/"):
        return None
    return dict(manifest["config"].get("postprocessing") or config.postprocessing.model_dump(mode="json"))


def _copy(images: Path, out: Path, items: list[dict[str, Any]]) -> None:
    for item in items:
        for file in (item["file"], item.get("before")):
            if file:
                within(out, file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(within(images, file), out / file)
