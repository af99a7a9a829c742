"""MagiCapture from Python, over the stages::

    from magicapture import MagiCapture

    person = MagiCapture("mini").personalise("pictures/anna", "pictures/noir")
    portraits = person.generate("a photo of a [V1] person in the [V2] style , wearing sunglasses", count=8)
    portraits.best(4).save("out")

Every step is an artifact of ``magicapture.stages`` in a folder, which stays where one is named and goes with the last object that uses it
where none is.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, overload

from magicapture import search, stages
from magicapture.artifacts import read_manifest, write_bytes, write_json
from magicapture.config import Config, load_config
from magicapture.options import seeds as counted


class MagiCapture:
    """The service with one configuration: a preset's name, a YAML file or a mapping, with ``"tuning.steps=200"`` overrides on top.

    None: ``mini`` to learn with, and to load something, what it was made with. Raises ConfigError for knobs that cannot be used.
    """

    def __init__(self, preset: stages.Settings | None = None, *knobs: str) -> None:
        self._knobs = knobs if preset is None else None  # what load lays on the adapter's own; None: a preset was named
        self.config: Config = load_config("mini" if preset is None else preset, knobs)

    def personalise(self, photos: stages.Folder, looks: stages.Folder, out: stages.Folder | None = None, seed: int | None = None) -> Person:
        """Train on photos of a person and images of a look (folders, or ``git+URL@REVISION#FOLDER``); minutes with ``mini``.

        ``seed``: of training, the only one to try. None: what ``config.search`` says, by default seed 0; with ``"search.seeds=4"`` the best
        of four (``magicapture.search``). ``out``: where the artifacts go, laid out as by ``magicapture train``; called again with the
        same, training goes on where it was. None: a temporary folder. Raises what ``stages.preprocess`` and ``search.run`` raise.
        """
        config = self.config if seed is None else load_config(self.config, [f"search.seeds=[{seed}]"])
        folder = _Folder(out)
        search.candidates(config)  # what cannot be searched is refused before anything runs
        prepared = stages.preprocess(photos, looks, folder.path / "prepared", config)
        found = search.run(prepared, folder.path, config)
        from magicapture.adapters.export import beside  # draws on torch, and importing the library shall not

        beside(found.adapter)
        return Person(found.config, prepared, found.adapter, folder)

    def load(self, adapter: stages.Folder, prepared: stages.Folder) -> Person:
        """A person that was learnt before: the adapter and prepared folders of a run.

        By ``MagiCapture()`` or ``MagiCapture(None, "generation.guidance=5")`` with the knobs that the adapter was made with (its pack,
        guidance, scales), the overrides on top; by one that named a preset with that preset's, as with ``--preset`` on the command line.
        Raises ArtifactError for other folders, ConfigError.
        """
        made_with = read_manifest(adapter, "adapter")["config"]
        read_manifest(prepared, "prepared")
        config = self.config if self._knobs is None else load_config(made_with, self._knobs, partial=True)
        return Person(config, Path(prepared), Path(adapter), _Folder(None))


@dataclass(frozen=True)
class Person:
    """A person in a look, learnt: ``adapter`` and ``prepared`` are the folders of those artifacts."""

    config: Config
    prepared: Path
    adapter: Path
    _folder: _Folder = field(repr=False)

    def generate(
        self,
        prompts: str | Sequence[str] = (),
        count: int | None = None,
        seeds: Sequence[int] = (),
        out: stages.Folder | None = None,
        knobs: Sequence[str] = (),
    ) -> Portraits:
        """Portraits of every prompt with every seed, upscaled and restored.

        ``prompts``: [V1] is the person, [V2] the look; none: ``generation.prompts``. ``count`` of them a prompt, from the first seed on;
        neither count nor seeds: ``generation.seeds``. ``out``: folder for images/, portraits/ and evaluation/; None: a temporary one.
        ``knobs``: overrides, ``"generation.guidance=5"``. Raises GenerationError for prompts or seeds that cannot be used, OptionsError for
        a count beside other seeds, ConfigError.
        """
        config = load_config(self.config, ["evaluation.baseline_images=0", *knobs])  # the untuned model's are for reports
        folder = _Folder(out)
        wanted = [prompts] if isinstance(prompts, str) else list(prompts)
        images = stages.generate(self.adapter, folder.path / "images", config, wanted, counted(seeds, count, config.generation.seeds))
        artifact = stages.postprocess(images, folder.path / "portraits", config)
        items = read_manifest(artifact, "portraits")["content"]["items"]
        return Portraits(
            [Portrait(artifact / item["file"], item["prompt"], item["seed"], _folder=folder) for item in items],
            artifact, self, config, folder,
        )  # fmt: skip


@dataclass(frozen=True)
class Portrait:
    """One picture: ``file`` is a PNG (RGB, 8 bit); ``scores`` as ``stages.evaluate`` describes them, empty until it was scored."""

    file: Path
    prompt: str
    seed: int
    scores: dict[str, Any] = field(default_factory=dict)
    _folder: _Folder | None = field(default=None, repr=False, compare=False)  # a temporary one stays as long as the picture is used


class Portraits(Sequence[Portrait]):
    """Portraits, in the order in which they were made or best first. ``artifact`` is their ``portraits/1`` folder."""

    def __init__(self, portraits: Sequence[Portrait], artifact: Path, person: Person, config: Config, folder: _Folder) -> None:
        self._portraits, self.artifact, self.person, self.config, self._folder = tuple(portraits), artifact, person, config, folder

    @overload
    def __getitem__(self, index: int) -> Portrait: ...
    @overload
    def __getitem__(self, index: slice) -> Portraits: ...
    def __getitem__(self, index: int | slice) -> Portrait | Portraits:
        if isinstance(index, slice):
            return Portraits(self._portraits[index], self.artifact, self.person, self.config, self._folder)
        return self._portraits[index]

    def __len__(self) -> int:
        return len(self._portraits)

    def best(self, count: int | None = None) -> Portraits:
        """The ``count`` best of these (None: all), best first: by likeness, style and aesthetic score (knobs ``evaluation.weight_*``).

        Of all prompts together. As with ``generate --best`` no portrait is kept that shows no face, or not as many as its prompt names
        people: fewer than ``count`` may be left, or none. Raises what ``stages.evaluate`` raises.
        """
        from magicapture.evaluation.ranking import choose  # as above

        evaluation = stages.evaluate(self.artifact, self.person.prepared, self._folder.path / "evaluation", self.config)
        ranked = json.loads((evaluation / "scores.json").read_text())["items"]
        kept = {row["file"] for row in choose(ranked, len(ranked)) if row["kept"]}
        own = {portrait.file.relative_to(self.artifact).as_posix(): portrait for portrait in self}
        portraits = [replace(own[row["file"]], scores=row) for row in ranked if row["file"] in own and row["file"] in kept]
        return Portraits(portraits[:count], self.artifact, self.person, self.config, self._folder)

    def save(self, folder: stages.Folder) -> list[Path]:
        """Write 0000.png, 0001.png, ... in this order and portraits.json ([{file, prompt, seed, scores}]); returns the pictures' paths.

        What an earlier call wrote there goes: pictures of that pattern that ``portraits.json`` named.
        """
        paths = [Path(folder) / f"{number:04d}.png" for number in range(len(self))]
        for path, portrait in zip(paths, self, strict=True):
            write_bytes(path, portrait.file.read_bytes())
        rows = [
            {"file": path.name, "prompt": portrait.prompt, "seed": portrait.seed, "scores": portrait.scores}
            for path, portrait in zip(paths, self, strict=True)
        ]
        earlier = Path(folder) / "portraits.json"
        named = [row["file"] for row in json.loads(earlier.read_text())] if earlier.is_file() else []
        write_json(earlier, rows)
        for name in set(named) - {path.name for path in paths}:
            if re.fullmatch(r"\d{4,}\.png", name):
                (Path(folder) / name).unlink(missing_ok=True)
        return paths


class _Folder:
    """A named folder, or a temporary one that is removed when nothing uses it any more."""

    def __init__(self, path: stages.Folder | None) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="magicapture-", ignore_cleanup_errors=True) if path is None else None
        self.path = Path(path if self._temporary is None else self._temporary.name)  # type: ignore[arg-type]
