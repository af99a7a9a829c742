from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.pairs import PHOTOS, draw, draw_pictures, draw_unseen, renders_of
from magicapture.world.splits import seeds

NAMED = ("skin", "hair_style", "hair_colour", "beard", "glasses")


def test_people_and_looks_are_those_of_the_split(tmp_path: Path) -> None:
    groups = draw(tmp_path, people=6, looks=2, matched=False, split="test")
    assert [len(group) for group in groups] == [4, 4, 2, 2]
    pairs = [pair for group in groups for pair in group]
    assert {pair.seed for pair in pairs} == set(seeds("people", "test")[:6])
    assert all(pair.look.seed in seeds("looks", "test") for pair in pairs)
    assert all(len({pair.look.seed for pair in group}) == 1 for group in groups)
    assert len({group[0].look.seed for group in groups}) == 4
    assert len({pair.folder for pair in pairs}) == 12


def test_matched_people_share_every_word_and_are_not_the_same(tmp_path: Path) -> None:
    (group,) = draw(tmp_path, people=4, looks=1, matched=True, split="validation")
    words = [tuple(pair.person.attributes()[name] for name in NAMED) for pair in group]
    assert len(set(words)) == 1
    assert len({(pair.person.jaw, pair.person.eye_x) for pair in group}) == 4
    (other,) = draw(tmp_path, people=4, looks=1, matched=False, split="validation")
    assert len({tuple(pair.person.attributes()[name] for name in NAMED) for pair in other}) > 1


def test_pictures_are_drawn_once_and_described(tmp_path: Path) -> None:
    ((pair, _),) = draw(tmp_path, people=2, looks=1, matched=False, split="validation")
    draw_pictures(pair)
    files = sorted(tmp_path.rglob("*.jpg"))
    assert len(files) == 2 * PHOTOS
    assert f"in the {pair.look.name} style" in (pair.folder / "looks/description.txt").read_text()
    assert "skin" in (pair.folder / "photos/description.txt").read_text()
    assert "skin" not in (pair.folder / "looks/description.txt").read_text()
    before = [file.stat().st_mtime_ns for file in files]
    draw_pictures(pair)
    assert [file.stat().st_mtime_ns for file in files] == before


def test_unseen_people_have_looks_of_their_own(tmp_path: Path) -> None:
    pairs = draw_unseen(tmp_path, people=3, looks=3, split="test")
    assert [pair.folder.name for pair in pairs[:4]] == ["person-0", "person-1", "person-2", "person-0"]
    looked_at = [pair for group in draw(tmp_path, people=40, looks=3, matched=False, split="test") for pair in group]
    assert not {pair.seed for pair in pairs} & {pair.seed for pair in looked_at}
    assert not {pair.look.seed for pair in pairs} & {pair.look.seed for pair in looked_at}
    assert len({pair.look.seed for pair in pairs}) == 9
    for seed in {pair.seed for pair in pairs}:
        assert len({pair.look.name for pair in pairs if pair.seed == seed}) == 3
    assert all(pair.look.seed in seeds("looks", "test") and pair.seed in seeds("people", "test") for pair in pairs)


def test_a_looks_sunglasses_are_nobodys_in_real_pictures(tmp_path: Path) -> None:
    pair = next(pair for pair in draw_unseen(tmp_path, people=10, looks=3, split="test") if pair.look.sunglasses)
    plain = renders_of(replace(pair, look=replace(pair.look, sunglasses=False)), [pair.person])
    assert (renders_of(pair, [pair.person])[0] == plain[0]).all()
