"""Going on from a pack: the same functions as the pack's files, now with batch norms, other words and checkpoints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from magicapture.backbones.recogniser import ConvNorm, FaceNet, fold
from magicapture.packs import Pack, load_pack
from magicapture.world import diffusion, loop, warm
from magicapture.world.networks import FaceParser, Restorer
from magicapture.world.packing import HISTORY, ROLES
from magicapture.world.tokenizer import build_tokenizer

_PIXELS = torch.randn(12, 3, 128, 128, generator=torch.Generator().manual_seed(0)).clamp(-1, 1)


@pytest.mark.parametrize(
    ("role", "network", "example"), [("parser", FaceParser, (_PIXELS,)), ("restorer", Restorer, (_PIXELS, torch.zeros(())))]
)
def test_norms_undo_themselves(role: str, network: type[nn.Module], example: tuple[torch.Tensor, ...]) -> None:
    pack = load_pack("mini")
    trained, folded = network(), network(norm=False)
    warm.go_on(trained, pack, role, lambda: example)
    warm.go_on(folded, pack, role)
    with torch.no_grad():
        torch.testing.assert_close(trained(*example), folded.eval()(*example), atol=2e-4, rtol=2e-4)
        norms = [m.norm for m in trained.modules() if isinstance(m, ConvNorm) and isinstance(m.norm, nn.BatchNorm2d)]
        assert norms and any((norm.bias.abs() > 0.01).any() for norm in norms)


def test_a_recogniser_keeps_its_judgement() -> None:
    pack = load_pack("mini")
    trained, folded = FaceNet("residual"), FaceNet("residual", norm=False)
    smooth = nn.functional.interpolate(torch.randn(48, 3, 9, 9, generator=torch.Generator().manual_seed(1)), 112, mode="bicubic").clamp(
        -1, 1
    )
    warm.go_on(trained, pack, "recogniser", lambda: (smooth,))
    warm.go_on(folded, pack, "recogniser")
    with torch.no_grad():
        rows = [net(smooth) - net(smooth).mean(0) for net in (trained, folded.eval())]
        # The last norm has no scale or shift of its own: embeddings are standardised, place by place.
        torch.testing.assert_close(*(r / r.std(0, unbiased=False) for r in rows), atol=2e-2, rtol=2e-2)
        fold(trained)


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(ValueError, match=r"do not fit FaceNet .*without --from-pack"):
        warm.go_on(FaceNet("dense"), load_pack("mini"), "recogniser", lambda: (torch.zeros(2, 3, 112, 112),))


def test_without_a_pack_nothing_changes() -> None:
    net = FaceNet("plain")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    warm.go_on(net, None, "judge", lambda: pytest.fail("no example is needed"))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_new_machine_goes_on_from_the_pack(pack: Pack, tmp_path: Path) -> None:
    (pack.folder / HISTORY).write_text(json.dumps({"judge": [{"from": 0, "to": 9}]}))
    work = tmp_path / "work"
    warm.continue_from(pack, work)
    model = loop.load_average(diffusion.build_text_to_image(tmp_path / "tokenizer"), work / "unet")
    for part, module in (("unet", model.unet), ("text_encoder", model.text_encoder)):
        stored = warm.file_weights(pack.path("diffusion") / part)
        assert all(torch.equal(value, stored[name]) for name, value in module.named_parameters())
    assert loop.Run(model, work / "unet", steps=1, rate=1e-3, seed=0).step == 0
    for role, (path, _) in ROLES.items():
        assert (work / "pack" / path).exists() == (role != "diffusion")
    assert json.loads((work / HISTORY).read_text()) == {"judge": [{"from": 0, "to": 9}]}
    changed = {file: file.stat().st_mtime_ns for file in work.rglob("*") if file.is_file() and "tokenizer" not in str(file)}
    warm.continue_from(pack, work)
    assert changed == {file: file.stat().st_mtime_ns for file in changed}


def test_known_words_keep_their_embedding(tmp_path: Path) -> None:
    old, new = build_tokenizer(tmp_path / "old", 16, ["cat", "hat"]), build_tokenizer(tmp_path / "new", 16, ["a", "cat", "teapot", "hat"])
    weights = {"x.token_embedding.weight": torch.arange(len(old)).float()[:, None].repeat(1, 4), "y": torch.ones(2)}
    rows = warm._with_words(dict(weights), tmp_path / "old", new)["x.token_embedding.weight"]
    before, after = old.get_vocab(), new.get_vocab()
    assert rows.shape == (len(after), 4)
    assert all(float(rows[after[word], 0]) == before[word] for word in after.keys() & before.keys())
    fresh = [after[word] for word in after.keys() - before.keys()]
    assert fresh and 0.3 < float(rows[fresh].std() / np.arange(len(before)).std()) < 2
