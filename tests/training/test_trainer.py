from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from magicapture import adapters
from magicapture.config import Config
from magicapture.packs import Pack
from magicapture.training import objective
from magicapture.training.session import Session
from magicapture.training.trainer import Progress, Recipe, Trainer, TrainingError, fixed_threads, stop_asked
from magicapture.training.tuning import build_recipe
from tests.training.conftest import tiny_config

Made = tuple[Trainer, Session]


@pytest.fixture
def make(make_session: Callable[..., Session], pack: Pack) -> Callable[..., Made]:
    """A trainer of phase 2 without validation, on a session of its own; changes go to the recipe."""

    def made(*overrides: str, folder: str = "run", seed: int = 0, **changes: Any) -> Made:
        config = tiny_config(pack, *overrides)
        session = make_session(config, folder=folder)
        recipe = replace(build_recipe(session, config, seed)[0], **{"validate": None, **changes})
        return Trainer(session.backbone, session.data, recipe, config.training, seed, session.checkpoints), session

    return made


def weights(trainer: Trainer) -> str:
    return adapters.tensor_hash(adapters.tensors(trainer.backbone))


def test_two_runs_of_five_steps_are_equal_and_another_seed_differs(make: Callable[..., Made]) -> None:
    first, _ = make(folder="a")
    second, _ = make(folder="b")
    other, _ = make(folder="c", seed=1)
    curves = [trainer.run(5).curves for trainer in (first, second, other)]
    assert curves[0] == curves[1] != curves[2]
    assert weights(first) == weights(second) != weights(other)
    assert [line["step"] for line in curves[0]] == [1, 2, 3, 4, 5]
    assert all(0 < line[name] < 50 for line in curves[0] for name in ("total", "source", "reference", "composed", "attention"))


@pytest.mark.parametrize("overrides", [(), ("tuning.lora.dropout=0.3", "training.accumulation=2", "training.gradient_checkpointing=true")])
def test_a_resumed_run_equals_an_uninterrupted_one(make: Callable[..., Made], overrides: tuple[str, ...]) -> None:
    whole, _ = make(*overrides, folder="whole")
    curves = whole.run().curves
    first, _ = make(*overrides, folder="parts")
    first.run(3)
    torch.manual_seed(99)  # another process has another global generator
    second, _ = make(*overrides, folder="parts")
    progress = second.run()
    assert progress.step == 6 and progress.curves == curves
    assert weights(second) == weights(whole)


def test_ctrl_c_lets_the_step_end_and_what_follows_is_as_if_never_stopped(make: Callable[..., Made]) -> None:
    whole, _ = make(folder="whole")
    whole.run()

    def interrupt(step: int) -> float:
        if step == 3:  # between checkpoints, which are every 2 steps
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    first, session = make(folder="parts", validate=interrupt, sample_every=1)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert signal.getsignal(signal.SIGINT) is before
    newest = session.checkpoints.path()
    assert newest is not None and newest.name == "step-000003"
    second, _ = make(folder="parts")
    assert second.run().step == 6
    assert weights(second) == weights(whole)


def test_a_second_ctrl_c_stops_at_once() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start what runs in the background with it ignored
    with pytest.raises(KeyboardInterrupt), stop_asked() as asked:
        os.kill(os.getpid(), signal.SIGINT)
        assert asked.wait(5)
        os.kill(os.getpid(), signal.SIGINT)
        asked.clear()
        asked.wait(5)


def test_a_damaged_newest_checkpoint_costs_steps_but_not_exactness(make: Callable[..., Made]) -> None:
    whole, _ = make(folder="whole")
    whole.run()
    first, session = make(folder="parts")
    first.run(4)
    newest = session.checkpoints.path()
    assert newest is not None and newest.name == "step-000004"
    (newest / "weights.safetensors").write_bytes(b"")
    second, _ = make(folder="parts")
    second.run()
    assert weights(second) == weights(whole)


def test_of_two_that_train_the_same_at_once_the_second_waits_and_takes_what_the_first_made(
    make: Callable[..., Made], caplog: pytest.LogCaptureFixture
) -> None:
    inside, go_on = threading.Event(), threading.Event()

    def pause(step: int) -> float:
        inside.set()
        assert go_on.wait(60)
        return 0.0

    first, _ = make(folder="one", validate=pause, sample_every=3)
    second, _ = make(folder="one", validate=lambda step: pytest.fail("every step was made by the first"))
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(first.run)
        assert inside.wait(60)
        waiting = pool.submit(second.run)
        while "another process trains this very run" not in caplog.text:
            assert not waiting.done()
            time.sleep(0.01)
        go_on.set()
        curves = running.result(60).curves
        assert waiting.result(60).curves == curves
    assert weights(second) == weights(first)


def test_validation_does_not_disturb_training(make: Callable[..., Made]) -> None:
    def validate(step: int) -> float:
        torch.rand(100)
        return float(step)

    plain, _ = make(folder="a")
    plain.run()
    watched, _ = make(folder="b", validate=validate, sample_every=1)
    progress = watched.run()
    assert weights(plain) == weights(watched)
    assert [entry["step"] for entry in progress.scores] == [1, 2, 3, 4, 5, 6]


def test_the_best_step_is_kept_and_the_first_of_equals(make: Callable[..., Made]) -> None:
    kept: dict[int, str] = {}
    scores = {2: 0.3, 4: 0.7, 6: 0.7}

    def validate(step: int) -> float:
        kept[step] = weights(trainer)
        return scores[step]

    trainer, _ = make(validate=validate, sample_every=2)
    progress = trainer.run()
    assert progress.best_step == 4 and adapters.tensor_hash(progress.best) == kept[4] != weights(trainer)


def test_the_best_step_survives_a_restart_and_a_stop_leaves_no_trace_in_it(make: Callable[..., Made]) -> None:
    scores = {2: 0.9, 3: 5.0, 4: 0.7, 6: 0.7}
    first, _ = make(validate=scores.__getitem__, sample_every=2)
    stopped = first.run(3)
    assert stopped.best_step == 3  # what this call hands over
    second, _ = make(validate=scores.__getitem__, sample_every=2)
    progress = second.run()
    assert progress.best_step == 2 and progress.scores == [{"step": 2, "judge": 0.9}, {"step": 4, "judge": 0.7}, {"step": 6, "judge": 0.7}]
    assert adapters.tensor_hash(progress.best) != weights(second)


def test_accumulation_averages_micro_batches_and_leaves_learning_rates_alone(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = []
    terms = objective.terms

    def remember(backbone: Any, batch: Any, *rest: Any) -> Any:
        batches.append(batch)
        return terms(backbone, batch, *rest)

    monkeypatch.setattr(objective, "terms", remember)
    trainer, _ = make("training.accumulation=3", "training.gradient_clip=1e9")
    optimiser_step = trainer.optimiser.step
    found: list[torch.Tensor] = []

    def remember_gradients() -> None:
        found.extend(parameter.grad.clone() for parameter in trainer.parameters if parameter.grad is not None)
        optimiser_step()

    reference, _ = make("training.accumulation=3", folder="reference")
    monkeypatch.setattr(trainer.optimiser, "step", remember_gradients)
    line = trainer.step(0)
    assert len(batches) == 3 and all(batch.kinds == ("source", "reference", "composed") for batch in batches)
    assert line["lr"] == 0.01

    parts = [terms(reference.backbone, batch, reference.recipe.attention, reference.recipe.identity) for batch in batches]
    mean = torch.stack([objective.total(part, reference.weights(0)) for part in parts]).mean()
    mean.backward()
    wanted = [parameter.grad for parameter in reference.parameters if parameter.grad is not None]
    assert line["total"] == pytest.approx(mean.item(), rel=1e-5)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-6)


def test_the_style_weight_holds_in_the_first_half(make: Callable[..., Made]) -> None:
    trainer, _ = make()
    assert [trainer.weights(step)["reference"] for step in range(6)] == [2, 2, 2, 1, 1, 1]
    assert all(trainer.weights(step)["composed"] == trainer.weights(step)["reference"] for step in range(6))
    assert "source" not in trainer.weights(0) and trainer.weights(0)["attention"] == 2.5


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_with_step_and_last_good_checkpoint(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    trainer, session = make()
    trainer.run(2)
    before = weights(trainer)
    terms = objective.terms
    monkeypatch.setattr(objective, "terms", lambda *inputs: {**terms(*inputs), "source": torch.tensor(value)})
    with pytest.raises(TrainingError, match=r"tuning step 3: .*not finite.*step-000002.*Lower tuning.learning_rate") as error:
        trainer.run()
    assert "source" in str(error.value)
    assert weights(trainer) == before and session.checkpoints.path() is not None


def test_checkpoints_come_at_their_interval_and_at_the_end(make: Callable[..., Made]) -> None:
    trainer, session = make("training.checkpoint_every=4", "tuning.steps=5")
    trainer.run()
    assert sorted(path.name for path in session.checkpoints.folder.iterdir()) == ["step-000004", "step-000005"]


def test_threads_are_fixed_inside_and_as_before_afterwards() -> None:
    before = torch.get_num_threads()
    with fixed_threads(before + 1) as count:
        assert count == torch.get_num_threads() == before + 1
    with fixed_threads(0) as count:
        assert count == before
    assert torch.get_num_threads() == before


def test_scoring_keeps_the_first_of_equal_scores() -> None:
    progress = Progress()
    for step, value in ((1, -0.5), (2, 0.1), (3, 0.1)):
        progress.score(step, value, {"a": torch.tensor(float(step))})
    assert progress.best_step == 2 and progress.best["a"] == 2


def test_a_recipe_without_instruments_trains_reconstruction_alone(make: Callable[..., Made], config: Config) -> None:
    trainer, _ = make(attention=None, identity=None, kinds=("source",))
    line = trainer.step(0)
    assert set(line) == {"phase", "step", "total", "source", "gradient", "lr"} and line["total"] == pytest.approx(line["source"])
    assert isinstance(trainer.recipe, Recipe)


def test_training_on_the_cpu_opens_no_other_device(make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch) -> None:
    trainer, _ = make()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # one that cannot be opened
    assert trainer.run(1).step == 1


def test_gradients_too_small_for_fp16_reach_the_parameters(make: Callable[..., Made]) -> None:
    """A small weight does what the many elements of a large model's prediction do."""
    found = []
    for half in (False, True):
        recipe = {"weights": {"source": 1e-4}, "kinds": ("source",), "attention": None, "identity": None}
        trainer, session = make(folder=f"half {half}", **recipe)
        backbone = session.backbone
        if half:
            backbone.dtype = torch.float16
            for network in (backbone.unet, *backbone.text_encoders.values()):
                network.half()
            for parameter in trainer.parameters:
                parameter.data = parameter.data.float()  # as adapters.attach leaves them
            trainer = Trainer(backbone, session.data, trainer.recipe, trainer.config, 0, session.checkpoints)
        trainer.step(0)
        found.append(torch.cat([parameter.grad.flatten() for parameter in trainer.parameters if parameter.grad is not None]))
    assert found[0].norm() > 0 and found[1].dtype == torch.float32
    assert (found[1] - found[0]).norm() < 0.05 * found[0].norm()


@pytest.mark.parametrize(("dtype", "wider"), [(torch.float16, "bf16"), (torch.bfloat16, "fp32")])
def test_what_does_not_fit_into_a_precision_wants_another(
    make: Callable[..., Made], monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, wider: str
) -> None:
    trainer, _ = make()
    trainer.backbone.dtype = dtype
    monkeypatch.setattr(objective, "terms", lambda *_: {"source": torch.tensor(float("inf"), requires_grad=True)})
    with pytest.raises(TrainingError, match=f"or use precision: {wider}"):
        trainer.step(0)
