"""The formats of the mini pack, on random weights; what the trained pack can do is measured by world.evaluate."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from insightface.app import FaceAnalysis
from transformers import CLIPModel, CLIPTokenizer

from magicapture.backbones.recogniser import load_recogniser
from magicapture.faces.embed import Embedder
from magicapture.faces.parse import Parser
from magicapture.packs import Pack, PackError, load_pack
from magicapture.scoring.aesthetic import AestheticScorer
from magicapture.world.packing import ROLES, write_pack_yaml


def test_pack_is_complete_and_verified(pack: Pack) -> None:
    assert pack.verify() == dict.fromkeys(ROLES, "ok")
    assert pack.resolution == 64 and pack.attention_resolution == 16
    assert all(role.commercial and role.licence == "Apache-2.0" for role in pack.roles.values())


def test_a_missing_role_is_named(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="diffusion"):
        write_pack_yaml(tmp_path, "1")


def test_insightface_routes_detector_and_recogniser(pack: Pack) -> None:
    analysis = FaceAnalysis(name=str(pack.path("detector").parent), providers=["CPUExecutionProvider"])
    assert set(analysis.models) == {"detection", "recognition"}
    assert analysis.det_model.use_kps
    analysis.prepare(ctx_id=-1, det_size=(128, 128), det_thresh=1e-4)
    faces = analysis.get(np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8))
    assert faces and faces[0].kps.shape == (5, 2) and faces[0].embedding.shape == (128,)


def test_detector_outputs_have_the_order_insightface_expects(pack: Pack) -> None:
    session = onnxruntime.InferenceSession(pack.path("detector"))
    outputs = session.run(None, {"input": np.zeros((1, 3, 128, 160), np.float32)})
    counts = [2 * (128 // s) * (160 // s) for s in (8, 16, 32)]
    assert [o.shape for o in outputs] == [(n, c) for c in (1, 4, 10) for n in counts]
    assert all(((o > 0) & (o < 1)).all() for o in outputs[:3])


def test_torch_recogniser_equals_the_onnx_file_over_1000_inputs(pack: Pack) -> None:
    net = load_recogniser(pack)
    crops = np.random.default_rng(0).integers(0, 256, (1000, 112, 112, 3), dtype=np.uint8)
    onnx_rows = Embedder(pack, "recogniser").embed(crops)
    with torch.inference_mode():
        pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 127.5 - 1
        rows = torch.nn.functional.normalize(torch.cat([net(part) for part in pixels.split(100)])).numpy()
    assert (rows * onnx_rows).sum(1).min() >= 0.9999


def test_torch_recogniser_is_frozen_and_differentiable(pack: Pack) -> None:
    net, crops = load_recogniser(pack), torch.rand(2, 3, 112, 112, requires_grad=True)
    net(crops).square().sum().backward()
    assert crops.grad is not None and crops.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in net.parameters()) and not net.training


def test_wrong_architecture_is_refused(pack: Pack) -> None:
    role = pack.role("recogniser_torch")
    for settings, message in (({}, "settings.architecture None"), ({"architecture": "plain"}, "does not hold a 'plain' recogniser")):
        changed = pack.model_copy(update={"roles": {**pack.roles, "recogniser_torch": role.model_copy(update={"settings": settings})}})
        with pytest.raises(PackError, match=message):
            load_recogniser(changed)


def test_judges_differ_from_the_recogniser(pack: Pack) -> None:
    shapes = {role: sorted(i.dims for i in _initialisers(pack, role)) for role in ("recogniser", "judge", "referee")}
    assert shapes["recogniser"] != shapes["judge"] != shapes["referee"] != shapes["recogniser"]


def _initialisers(pack: Pack, role: str):
    import onnx

    return [type("Shape", (), {"dims": tuple(t.dims)}) for t in onnx.load(pack.path(role)).graph.initializer]


def test_parser_upscaler_restorer_shapes(pack: Pack) -> None:
    labels = Parser(pack).parse(np.zeros((64, 48, 3), np.uint8))
    assert labels.shape == (64, 48) and labels.max() < 19
    upscaler = onnxruntime.InferenceSession(pack.path("upscaler"))
    assert upscaler.run(None, {"input": np.zeros((2, 3, 64, 80), np.float32)})[0].shape == (2, 3, 256, 320)
    restorer = onnxruntime.InferenceSession(pack.path("restorer"))
    face = np.random.default_rng(0).uniform(-1, 1, (1, 3, 128, 128)).astype(np.float32)
    kept = restorer.run(None, {"input": face, "weight": np.array(1.0)})[0]
    np.testing.assert_allclose(kept, face, atol=1e-6)  # full fidelity: the input itself


def test_clip_and_aesthetic_work_together(pack: Pack) -> None:
    score = AestheticScorer(pack).score([np.zeros((64, 64, 3), np.uint8)])
    assert score.shape == (1,) and np.isfinite(score).all()
    clip, tokenizer = CLIPModel.from_pretrained(pack.path("clip")), CLIPTokenizer.from_pretrained(pack.path("clip"))
    with torch.inference_mode():
        texts = tokenizer(["a photo of a person", "a photo of a person , smiling"], padding=True, return_tensors="pt")
        features = clip.get_text_features(**texts).pooler_output
    assert features.shape == (2, 128) and not torch.allclose(features[0], features[1])


def test_tampered_file_is_found(pack: Pack, tmp_path) -> None:
    import shutil

    copy = tmp_path / "pack"
    shutil.copytree(pack.folder, copy)
    (copy / "judge" / "judge.onnx").write_bytes(b"no model")
    with pytest.raises(PackError, match="judge"):
        load_pack(copy).require("judge")
