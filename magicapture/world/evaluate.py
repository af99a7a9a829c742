"""``python -m magicapture.world.evaluate``: the models of a pack, measured on people, looks and poses they never saw.

Everything is measured on the pack's own files, through the same classes that the stages use; prints one JSON object and draws
contact sheets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from transformers import CLIPModel, CLIPTokenizer

from magicapture.faces import runtime
from magicapture.faces.align import FFHQ, align, matrix, warp
from magicapture.faces.analysis import Face, FaceDetector
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import Parser
from magicapture.packs import Pack, load_pack
from magicapture.scoring.aesthetic import AestheticScorer
from magicapture.world import clip_training, degrade
from magicapture.world.datasets import Samples, load_samples
from magicapture.world.detection import scene_maker
from magicapture.world.gallery import write_sheets
from magicapture.world.looks import Look
from magicapture.world.measure_diffusion import held_out_pictures, psnr, text_to_image_scores, vae_scores
from magicapture.world.parsing import agreement
from magicapture.world.recognition import crop_batch, held_out, verification
from magicapture.world.render import render_background
from magicapture.world.splits import seeds
from magicapture.world.structure_training import structure_scores

RECOGNISERS = ("recogniser", "judge", "referee")
SCENES = 400
LARGE = 0.3  # of the picture's height: preprocess.min_face of the preset mini


def measure(pack: Pack, work: Path, roles: tuple[str, ...] = ()) -> dict[str, Any]:
    """Scores of each of ``roles`` (all of ROLES when none is named); held-out pictures are rendered below ``work`` once.

    Raises ValueError for a role that is not measured.
    """
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise ValueError(f"{', '.join(map(repr, unknown))} cannot be measured; there are: {', '.join(ROLES)}")
    # A pack may go without the optional role; asked for by name it is missed.
    named = roles or [name for name in ROLES if name != "structure" or name in pack.roles]
    scores: dict[str, Any] = {name: ROLES[name](pack, work) for name in ROLES if name in named}
    if not roles:
        scores["size_mb"] = round(sum(p.stat().st_size for p in pack.folder.rglob("*") if p.is_file()) / 1e6, 1)
    return scores


def recogniser_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """Verification by recogniser, judge and referee on the same people, and how far their errors go together."""
    samples = held_out(work)
    crops = ((crop_batch(samples, np.arange(len(samples)), None) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    scores: dict[str, Any] = {}
    strangers = []
    apart = np.triu(samples.groups[:, None] != samples.groups[None], 1)
    for role in RECOGNISERS:
        embeddings = Embedder(pack, role).embed(crops)
        scores[role] = verification(embeddings, samples.people, samples.groups)
        strangers.append((embeddings @ embeddings.T)[apart])
    table = np.atleast_2d(np.corrcoef(strangers))
    scores["correlation_on_strangers"] = {
        f"{RECOGNISERS[i]}-{RECOGNISERS[j]}": float(table[i, j]) for i in range(len(RECOGNISERS)) for j in range(i)
    }
    return scores


def detector_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """Average precision at IoU 0.5 and key point error on scenes; found at several sizes; false faces on empty backdrops.

    ``keypoint_error`` is a share of the distance between the eyes, over the faces that preprocessing takes (LARGE of the picture and
    more: of others nothing is cut by their key points); ``keypoint_error_of_all`` over those down to 10 px too.
    """
    samples = load_samples(work, "check")
    finder = FaceDetector(pack, threshold=0.05)
    make, rng = scene_maker(samples, "validation"), np.random.default_rng(71)
    hits: list[tuple[float, bool]] = []
    errors, large, total = [], [], 0
    for _ in range(SCENES):
        image, boxes, points = make(rng)
        total += len(boxes)
        free = np.ones(len(boxes), bool)
        for face in sorted(finder.detect(image), key=lambda f: -f.score):
            shares = np.array([_iou(face.box, box) for box in boxes])
            best = int(np.argmax(np.where(free, shares, -1))) if free.any() else -1
            right = best >= 0 and shares[best] >= 0.5
            hits.append((face.score, right))
            if right:
                free[best] = False
                errors.append(_point_error(face, points[best]))
                large.append(boxes[best][3] - boxes[best][1] >= LARGE * len(image))
    result: dict[str, Any] = {
        "ap50": _average_precision(hits, total),
        "keypoint_error": float(np.mean(np.array(errors)[large])) if any(large) else None,
        "keypoint_error_of_all": float(np.mean(errors)) if errors else None,
        "faces": total,
    }
    strict = FaceDetector(pack)
    for size in (64, 128, 256):
        images = [cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in samples.images[:200]]
        result[f"exactly_one_at_{size}px"] = float(np.mean([len(strict.detect(image)) == 1 for image in images]))
    first = seeds("looks", "validation")[0] + 500_000
    empty = [render_background(Look.sample(first + i), 128) for i in range(SCENES // 2)]
    result["false_faces_per_backdrop"] = float(np.mean([len(strict.detect(image)) for image in empty]))
    return result


def parser_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """Agreement with the exact maps at their own 256 px, for pictures of 128 px and of 64 px (as prepared ones are)."""
    samples, parser = load_samples(work, "check"), Parser(pack)
    side, result = samples.plan.size, {}
    for size in (128, 64):
        images = [cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in samples.images]
        result[f"from_{size}px"] = agreement(np.stack([parser.parse(image, (side, side)) for image in images]), samples.parsing)
    return result


def clip_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """Right caption among 100, over 10 sets of 100 held-out pictures, both ways."""
    pictures, clip = held_out_pictures(work), _clip(pack)
    tokenizer = CLIPTokenizer.from_pretrained(pack.path("clip"))
    assert tokenizer.model_max_length >= pictures.captions.shape[2]
    images = clip_training.embed(clip, pictures.images)
    with torch.inference_mode():
        ids = torch.from_numpy(pictures.captions[:, 0].astype(np.int64))
        texts = torch.nn.functional.normalize(clip.get_text_features(input_ids=ids).pooler_output, dim=-1)
    captions, pictures_found = [], []
    for start in range(0, len(images) - 99, 100):
        cosines = images[start : start + 100] @ texts[start : start + 100].T
        captions.append((cosines.argmax(1) == torch.arange(100)).float().mean())
        pictures_found.append((cosines.argmax(0) == torch.arange(100)).float().mean())
    return {"caption_top1_of_100": float(np.mean(captions)), "picture_top1_of_100": float(np.mean(pictures_found))}


def aesthetic_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """Spearman correlation of the score with the true level of degradation (negative levels: better is higher)."""
    pictures, rng = held_out_pictures(work), np.random.default_rng(73)
    levels = rng.uniform(0, clip_training.WORST, len(pictures))
    images = [clip_training.spoil(image, level, rng) for image, level in zip(pictures.images, levels, strict=True)]
    scorer = AestheticScorer(pack)
    found, clean = scorer.score(images), scorer.score(list(pictures.images))
    ranks = [np.argsort(np.argsort(values)).astype(np.float64) for values in (found, -levels)]
    worst = found[levels > 0.9 * clip_training.WORST]
    return {"spearman": float(np.corrcoef(ranks[0], ranks[1])[0, 1]), "clean": float(clean.mean()), "worst_tenth": float(worst.mean())}


def upscaler_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """PSNR at 256 px against bilinear enlargement, and whether the referee still knows the person."""
    samples = load_samples(work, "check")
    small, large = _enlarged(pack, work)
    rough = np.stack([cv2.resize(image, (256, 256), interpolation=cv2.INTER_LINEAR) for image in small])
    return {
        "psnr": psnr(large, samples.images), "psnr_bilinear": psnr(rough, samples.images),
        "referee": _referee(pack, samples, large), "referee_bilinear": _referee(pack, samples, rough),
    }  # fmt: skip


def restorer_scores(pack: Pack, work: Path) -> dict[str, Any]:
    """Aligned faces of worn and enlarged pictures: PSNR to the true face, before and after at fidelity 0 and 0.5."""
    samples, large = load_samples(work, "check"), _enlarged(pack, work)[1]
    session, size = runtime.session(pack.path("restorer")), int(pack.role("restorer").settings["size"])
    transforms = [matrix(points, size, FFHQ * (size / 512)) for points in samples.keypoints]
    given, truth = (
        np.stack([warp(x, t, size, size) for x, t in zip(images, transforms, strict=True)]) for images in (large, samples.images)
    )
    result = {"psnr_before": psnr(given, truth)}
    for fidelity in (0.0, 0.5):
        nchw = (given.astype(np.float32) / 127.5 - 1).transpose(0, 3, 1, 2)
        made = [session.run(None, {"input": nchw[i : i + 50], "weight": np.array(fidelity)})[0] for i in range(0, len(nchw), 50)]
        restored = ((np.concatenate(made).transpose(0, 2, 3, 1) + 1) * 127.5 + 0.5).clip(0, 255).astype(np.uint8)
        result[f"psnr_at_{fidelity}"] = psnr(restored, truth)
    return result


def _clip(pack: Pack) -> CLIPModel:
    return CLIPModel.from_pretrained(pack.path("clip"), dtype=torch.float32, local_files_only=True).eval()


@cache
def _worn_pictures(work: Path) -> np.ndarray:
    """The check pictures at 64 px, a little blurred and noisy."""
    rng = np.random.default_rng(79)
    small = [cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA) for image in load_samples(work, "check").images]
    return np.stack([degrade.noise(degrade.blur(image, 0.3 + 0.4 * rng.random()), 3.0, rng) for image in small])


def _enlarged(pack: Pack, work: Path) -> tuple[np.ndarray, np.ndarray]:
    small = _worn_pictures(work)
    session = runtime.session(pack.path("upscaler"))
    large = [session.run(None, {"input": (image[None].transpose(0, 3, 1, 2) / 255).astype(np.float32)})[0][0] for image in small]
    return small, (np.stack(large).transpose(0, 2, 3, 1) * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _referee(pack: Pack, samples: Samples, images: np.ndarray) -> float:
    """Mean referee cosine of each picture's face to the true picture's."""
    embedder = Embedder(pack, "referee")
    crops = [[align(x, k) for x, k in zip(pictures, samples.keypoints, strict=True)] for pictures in (images, samples.images)]
    rows = [embedder.embed(np.stack(faces)) for faces in crops]
    return float((rows[0] * rows[1]).sum(1).mean())


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    inner = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return float(inner / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - inner))


def _point_error(face: Face, points: np.ndarray) -> float:
    """Mean distance of key points, as a share of the distance between the eyes."""
    return float(np.linalg.norm(face.keypoints - points, axis=1).mean() / np.linalg.norm(points[0] - points[1]))


def _average_precision(hits: list[tuple[float, bool]], total: int) -> float:
    """Area under the precision-recall curve (every point, precision made monotone)."""
    right = np.array([r for _, r in sorted(hits, key=lambda h: -h[0])], float)
    found = np.cumsum(right)
    precision = np.maximum.accumulate((found / np.arange(1, len(found) + 1))[::-1])[::-1]
    return float((precision * right).sum() / total)


#: Name -> what measures it.
ROLES: dict[str, Callable[[Pack, Path], dict[str, Any]]] = {
    "vae": vae_scores, "text_to_image": text_to_image_scores, "detector": detector_scores, "recogniser": recogniser_scores,
    "parser": parser_scores, "clip": clip_scores, "aesthetic": aesthetic_scores, "upscaler": upscaler_scores, "restorer": restorer_scores,
    "structure": structure_scores,
}  # fmt: skip


def main() -> None:
    """Parse the command line, print the scores and draw the sheets."""
    parser = argparse.ArgumentParser(prog="python -m magicapture.world.evaluate", description=__doc__)
    parser.add_argument("--pack", default="mini", help="name of an embedded pack or a folder with pack.yaml")
    parser.add_argument("--work", default=Path("runs/world"), type=Path, help="folder for held-out pictures (default: runs/world)")
    parser.add_argument("--sheets", default=Path("docs/world"), type=Path, help="folder for the contact sheets (default: docs/world)")
    parser.add_argument(
        "--role",
        action="append",
        default=[],
        choices=(*ROLES, "sheets"),
        metavar="NAME",
        help=f"only this one of {', '.join(ROLES)} and sheets (may be given several times; default: all)",
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    pack, roles = load_pack(options.pack), tuple(role for role in options.role if role != "sheets")
    if roles or not options.role:
        sys.stdout.write(json.dumps(measure(pack, options.work, roles), indent=2) + "\n")
    if not options.role or "sheets" in options.role:
        write_sheets(pack, options.work, options.sheets)


if __name__ == "__main__":
    main()
