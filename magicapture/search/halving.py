"""Successive halving over the stages: train the candidates a part of the way, let the better ones go on, keep one adapter."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicapture import stages
from magicapture.artifacts import MANIFEST, ArtifactError, lineage_key, read_manifest, write_json, write_text
from magicapture.config import Config, ConfigError
from magicapture.faces.concepts import spread, unknown
from magicapture.search.plan import Candidate, candidates, check_step, rounds

RECORD = "search.json"
SHEET = "search.html"
log = logging.getLogger(__name__)


class SearchError(RuntimeError):
    """A search of which nothing is left: names each candidate and why it was set aside."""


@dataclass(frozen=True)
class Found:
    """What a search ended with: the winner's folders, the record (``search.json``), and the sheet where several were compared.

    ``config``: what the winner was made with, and the search as it was asked for; its portraits are made and recorded with that.
    """

    seed: int
    adapter: Path
    tokens: Path
    config: Config
    record: dict[str, Any]
    sheet: Path | None

    @property
    def folder(self) -> Path:
        """Of the winner; its portraits go beside its adapter."""
        return self.adapter.parent

    def lines(self) -> list[str]:
        """What came of each candidate, and the cost, for a terminal; nothing where there was only one."""
        if self.sheet is None:
            return []
        said = []
        for name, entry in self.record["candidates"].items():
            judge = f"judge {entry['checks'][-1]['judge']:.4f}, " if entry["checks"] else ""
            said.append(f"{name}: {judge}{entry['state']}: {entry['reason']}")
        cost = self.record["cost"]
        return [*said, f"search: {cost['steps']} steps of training, {cost['ratio']:.2f} times one run; sheet {self.sheet}"]


def run(prepared: str | Path, out: str | Path, config: Config) -> Found:
    """Try what ``config.search`` says and keep the best adapter by the judge's score on the validation prompts and seeds.

    One candidate is trained from start to end, as without a search. Below ``out`` lie ``<candidate>/adapter`` of each candidate as far as
    it was trained, ``tokens`` beside the first that shares them, ``checkpoints`` beside the first of all, ``search.json``, ``search.html``.
    A candidate whose training fails is set aside, and the best of those that had to stop takes its place. Killed and called again the
    search goes on, repeats no training that is finished and ends with the same winner.

    ``search.json``: ``key``; ``inversions``: candidate whose it is -> {steps, cpu_seconds}; ``candidates``: name -> {seed, knobs, state
    ("waiting", "training", "stopped", "failed", "finished", "best"), reason, checks [{step, judge (the best of its validations so far),
    cpu_seconds since the check before}]}; ``cost``: {steps, full_steps (of one run), ratio, cpu_seconds (of all threads; what a killed
    process used is not in it)}; ``winner``.

    Raises ConfigError for a search that cannot be, and for prompts of somebody whom the pictures do not show, before anything has run;
    SearchError when every candidate failed (of a single one its own error).
    """
    _check_prompts(prepared, config)
    search = _Search(Path(prepared), Path(out), candidates(config), config)
    winner = search.winner()
    several = len(search.tried) > 1
    if several:
        from magicapture.search import sheet  # what follows draws on torch, which refusing a knob does without

        write_text(search.out / SHEET, sheet.render(search.out, search.record))
    return Found(
        seed=winner.seed,
        adapter=search.adapter(winner),
        tokens=search.tokens(winner),
        config=winner.config.model_copy(update={"search": config.search}),
        record=search.record,
        sheet=search.out / SHEET if several else None,
    )


def _check_prompts(prepared: str | Path, config: Config) -> None:
    """What is to be drawn once all is trained can be: said before."""
    from magicapture.faces.prepared import PreparedSet  # draws on pillow, which commands without pictures do without

    shown = PreparedSet.load(prepared)
    tokens = [*shown.tokens("source"), *shown.tokens("reference")]
    for prompt in config.generation.prompts:
        for token in (token for one in spread(prompt, tokens) for token in unknown(one, tokens)):
            raise ConfigError(f"generation.prompts: {prompt!r}: {token} is not a token of these pictures; they have {', '.join(tokens)}")


class _Search:
    def __init__(self, prepared: Path, out: Path, tried: Sequence[Candidate], config: Config) -> None:
        from magicapture.registry.lineage import stage_config
        from magicapture.training.checkpoints import code_hash

        self.prepared, self.out, self.tried = prepared, out, tried
        self.reduction = config.search.reduction
        lineage = read_manifest(prepared, "prepared")["lineage"]
        knobs = (stage_config(config, "inversion"), stage_config(config, "tuning"), config.digest("search"))
        self.checkpoints = out / tried[0].name / "checkpoints"  # one for all, of both phases: the latents in it are the same
        self.record = self._opened(lineage_key(lineage, *knobs, code_hash()))

    def adapter(self, candidate: Candidate) -> Path:
        return self.out / candidate.name / "adapter"

    def tokens(self, candidate: Candidate) -> Path:
        return self.out / candidate.tokens / "tokens"

    def winner(self) -> Candidate:
        """Train and compare to the end. Every step of it is written down before the next begins."""
        going, stopped = list(self.tried), list[Candidate]()
        for share, left in [*rounds(len(going), self.reduction), (1.0, 1)]:
            if share < 1 and len(going) <= left:
                continue  # so many failed that nobody has to stop here
            going = [candidate for candidate in going if self._trained(candidate, share)]
            while len(going) < left and stopped:  # who failed leaves a place to the best of those that had to stop
                best = stopped.pop(0)
                if self._trained(best, share):
                    going.append(best)
            if not going:
                reasons = (f"{name}: {entry['reason']}" for name, entry in self.record["candidates"].items() if entry["state"] == "failed")
                self._write(winner=None)
                raise SearchError(f"all {len(self.tried)} candidates of the search failed; {'; '.join(reasons)}")
            at = {candidate.name: self._check(candidate, share) for candidate in going}
            going.sort(key=lambda candidate: -at[candidate.name]["judge"])  # stable: of equal scores the first stays first
            if share < 1:
                for place, candidate in enumerate(going[left:], left + 1):
                    entry = self.record["candidates"][candidate.name]
                    reason = f"{_ordinal(place)} of {len(going)} by the judge at step {at[candidate.name]['step']}; {left} went on"
                    if entry["state"] != "failed":  # taken up again later, in a search that is going on
                        entry |= {"state": "stopped", "reason": reason}
                going, stopped = going[:left], [*going[left:], *stopped]
                self._write()
        for candidate in going[1:]:
            self.record["candidates"][candidate.name] |= {"state": "finished", "reason": f"trained to the end, {going[0].name} is better"}
        self.record["candidates"][going[0].name] |= {"state": "best", "reason": "the best by the judge"}
        self._write(winner=going[0].name, cost=self._cost(going[0]))
        # Recorded, but its folder or that of its tokens may have been taken away since: the same steps give the same again.
        self._invert(going[0])
        if not self._complete(going[0]):
            self._tune(going[0], None)
        return going[0]

    def _opened(self, key: str) -> dict[str, Any]:
        path = self.out / RECORD
        if path.is_file():
            record: dict[str, Any] = json.loads(path.read_text())
            if record.get("key") == key:
                log.info("%s: going on with this search", path)
                if record["winner"] is None and all(entry["state"] == "failed" for entry in record["candidates"].values()):
                    record["candidates"] |= self._untried()  # nothing to go on with: try again
                return record
            log.info("%s: of other pictures, knobs or code; begun anew", path)
        return {"key": key, "inversions": {}, "candidates": self._untried(), "cost": None, "winner": None}

    def _untried(self) -> dict[str, Any]:
        return {
            candidate.name: {"seed": candidate.seed, "knobs": candidate.knobs, "state": "waiting", "reason": "", "checks": []}
            for candidate in self.tried
        }

    def _trained(self, candidate: Candidate, share: float) -> bool:
        """Whether the candidate has been trained up to a share of its steps; if not yet, it is now."""
        entry = self.record["candidates"][candidate.name]
        if self._check(candidate, share):
            return True
        step, steps = check_step(candidate.config, share), candidate.config.tuning.steps
        if entry["state"] == "failed":
            return False
        entry["state"] = "training"
        started = time.process_time()
        try:
            self._invert(candidate)
            started = time.process_time()
            content = self._tune(candidate, None if share == 1 else step)
        except (RuntimeError, ValueError) as error:  # training that diverged, no memory, a knob that the pack cannot serve
            if len(self.tried) == 1:
                raise
            entry |= {"state": "failed", "reason": str(error), "failed_cpu_seconds": round(time.process_time() - started, 2)}
            log.warning("%s is set aside: %s", candidate.name, error)
        else:
            # Up to the check alone: another search may have trained it further before.
            judge = max(score["judge"] for score in content["scores"] if score["step"] <= step)
            entry["checks"].append({"step": step, "judge": round(judge, 5), "cpu_seconds": round(time.process_time() - started, 2)})
            log.info("%s: judge %.4f at step %d of %d", candidate.name, judge, step, steps)
        self._write()
        return entry["state"] != "failed"

    def _invert(self, candidate: Candidate) -> None:
        if candidate.tokens in self.record["inversions"] and (self.tokens(candidate) / MANIFEST).is_file():
            return
        started = time.process_time()
        first = self.tried[0].seed
        stages.invert(self.prepared, self.tokens(candidate), candidate.config, first, self.checkpoints)
        self.record["inversions"][candidate.tokens] = {
            "steps": candidate.config.inversion.steps,
            "cpu_seconds": round(time.process_time() - started, 2),
        }
        self._write()

    def _tune(self, candidate: Candidate, until_step: int | None) -> dict[str, Any]:
        adapter, tokens = self.adapter(candidate), self.tokens(candidate)
        stages.tune(self.prepared, tokens, adapter, candidate.config, candidate.seed, self.checkpoints, until_step)
        content: dict[str, Any] = read_manifest(adapter, "adapter")["content"]
        return content

    def _complete(self, candidate: Candidate) -> bool:
        try:
            return bool(read_manifest(self.adapter(candidate), "adapter")["content"]["last_step"] == candidate.config.tuning.steps)
        except ArtifactError:
            return False

    def _check(self, candidate: Candidate, share: float) -> dict[str, Any]:
        """What the check at a share of the steps gave; empty if it has not been."""
        step, checks = check_step(candidate.config, share), self.record["candidates"][candidate.name]["checks"]
        return next((check for check in checks if check["step"] == step), {})

    def _cost(self, winner: Candidate) -> dict[str, float]:
        entries, inversions = self.record["candidates"].values(), self.record["inversions"].values()
        steps = sum(part["steps"] for part in inversions) + sum(entry["checks"][-1]["step"] for entry in entries if entry["checks"])
        full = winner.config.inversion.steps + winner.config.tuning.steps
        cpu = [part["cpu_seconds"] for part in inversions] + [check["cpu_seconds"] for entry in entries for check in entry["checks"]]
        cpu += [entry.get("failed_cpu_seconds", 0.0) for entry in entries]
        return {"steps": steps, "full_steps": full, "ratio": round(steps / full, 3), "cpu_seconds": round(sum(cpu), 2)}

    def _write(self, **more: Any) -> None:
        self.record |= more
        write_json(self.out / RECORD, self.record)


def _ordinal(place: int) -> str:
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"
