"""The reference data: photos of one rendered person and images of one rendered look, made from seeds.

``python -m magicapture.world.samples data`` writes exactly the files that ``data.dvc`` tracks::

    data/person/1.jpg ... 5.jpg   one person of the test split in different everyday looks, poses and expressions
    data/person/description.txt   that person in words
    data/look/1.jpg ... 5.jpg     five other people of the test split in one look that no model was trained on
    data/look/description.txt     that look in words

Other seeds give other subjects (``--person 7000123 --look beach:10000007``). With ``--object vase`` (or ``vase:7000123``; teapot, chair,
car) the subject is a thing: ``object/*.png``, cut out (transparent around it), in different everyday textures, and ``look/*.png``, other
things of its kind in the one texture that ``--look`` names. To replace the tracked data: write it, ``dvc add data``,
``dvc push``, then ``dvc gc --workspace --cloud --force`` takes the old files out of the embedded remote.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from magicapture.artifacts import write_bytes, write_text
from magicapture.world.captions import attribute_prompt, caption
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.objects import KINDS, Pose, Texture, Thing, render_object
from magicapture.world.people import Person
from magicapture.world.render import render
from magicapture.world.splits import seeds

SIZE = 256
QUALITY = 92
# Looks a person has ordinary photos in; cycled when more are asked for.
EVERYDAY = ("office", "garden", "autumn", "pastel", "passport")
PERSON = seeds("people", "test")[6]
LOOK = ("winter", seeds("looks", "test")[0])
# Textures a thing has ordinary photos in; cycled when more are asked for.
EVERYDAY_TEXTURES = ("ceramic", "wood", "porcelain", "striped", "knitted", "plaid")
OBJECT = ("vase", seeds("people", "test")[3])
TEXTURE = ("gold", seeds("looks", "test")[0])


def write_person(folder: str | Path, person: Person, count: int = 5, size: int = SIZE) -> None:
    """``count`` photos of a person, ``size`` px a side, and ``description.txt``; equal arguments write equal bytes."""
    for index in range(count):
        name = EVERYDAY[index % len(EVERYDAY)]
        look = Look.sample(seeds("looks", "test")[_draw(person.seed, index)], name)
        _write(Path(folder) / f"{index + 1}.jpg", person, look, _draw(person.seed, index, 1), size)
    write_text(Path(folder) / "description.txt", _words(attribute_prompt(person)) + "\n")


def write_look(folder: str | Path, look: Look, people: Sequence[Person], size: int = SIZE) -> None:
    """One image of each person in a look, ``size`` px a side, and ``description.txt``; equal arguments write equal bytes."""
    for index, person in enumerate(people):
        _write(Path(folder) / f"{index + 1}.jpg", person, look, _draw(look.seed, index, 2), size)
    phrases = caption(people[0], look, Nuisance.frontal())
    clothing = next(index for index, phrase in enumerate(phrases) if phrase.startswith("wearing "))
    style = next(index for index, phrase in enumerate(phrases) if phrase.startswith("in the "))
    write_text(Path(folder) / "description.txt", " , ".join(phrases[style:] + phrases[clothing:style]) + "\n")


def others(person: Person, look: Look, count: int = 5) -> list[Person]:
    """People of the test split for a look's images: not the person, and no two alike in skin and hair."""
    chosen: list[Person] = []
    seen = {(person.skin, person.hair_colour), (person.hair_style, "")}
    for index in range(10_000):
        candidate = Person.sample(seeds("people", "test")[_draw(look.seed, index, 3)])
        marks = {(candidate.skin, candidate.hair_colour), (candidate.hair_style, "")}
        if candidate.seed != person.seed and not marks & seen:
            chosen.append(candidate)
            seen |= marks
        if len(chosen) == count:
            return chosen
    raise ValueError(f"no {count} people unlike one another in skin, hair colour and hair style; ask for fewer")


def write_samples(out: str | Path, person: int = PERSON, look: tuple[str, int] = LOOK, count: int = 5, size: int = SIZE) -> None:
    """``out/person`` and ``out/look`` from the seed of a person and the (family, seed) of a look."""
    subject, style = Person.sample(person), Look.sample(look[1], look[0])
    write_person(Path(out) / "person", subject, count, size)
    write_look(Path(out) / "look", style, others(subject, style, count), size)


def write_object(folder: str | Path, thing: Thing, textures: Sequence[Texture], size: int = SIZE) -> None:
    """A photo of a thing in each texture, transparent around it, and ``description.txt``; equal arguments write equal bytes."""
    for index, texture in enumerate(textures):
        made = render_object(thing, texture, Pose.sample(_draw(texture.seed, index, 4)), size)
        _png(Path(folder) / f"{index + 1}.png", np.dstack([made.image, made.mask.astype(np.uint8) * 255]))
    write_text(Path(folder) / "description.txt", _words(made.caption.rpartition(" , in the ")[0]) + "\n")


def write_texture(folder: str | Path, texture: Texture, things: Sequence[Thing], size: int = SIZE) -> None:
    """One image of each thing in a texture and its room, and ``description.txt``; equal arguments write equal bytes."""
    for index, thing in enumerate(things):
        _png(Path(folder) / f"{index + 1}.png", render_object(thing, texture, Pose.sample(_draw(texture.seed, index, 5)), size).image)
    write_text(Path(folder) / "description.txt", f"in the {texture.name} style\n")


def write_object_samples(
    out: str | Path, thing: tuple[str, int] = OBJECT, look: tuple[str, int] = TEXTURE, count: int = 5, size: int = SIZE
) -> None:
    """``out/object`` and ``out/look`` from the (kind, seed) of a thing and the (family, seed) of a texture.

    Raises ValueError for a kind or family that the world does not have.
    """
    kind, seed = thing
    ordinary = [name for name in EVERYDAY_TEXTURES if name != look[0]]
    known = seeds("looks", "test")
    worn = [Texture.sample(known[_draw(seed, i, 6)], ordinary[i % len(ordinary)]) for i in range(count)]
    write_object(Path(out) / "object", Thing.sample(seed, kind), worn, size)
    others = [Thing.sample(seeds("people", "test")[_draw(look[1], i, 7)], kind) for i in range(count)]
    write_texture(Path(out) / "look", Texture.sample(look[1], look[0]), others, size)


def _draw(*key: int) -> int:
    """A number below a split's 1,000,000 seeds, fixed by the key."""
    return int(np.random.default_rng(key).integers(1_000_000))


def _write(path: Path, person: Person, look: Look, nuisance: int, size: int) -> None:
    # The file's own compression is the picture's only one.
    picture = render(person, look, replace(Nuisance.sample(nuisance), jpeg=None), size)
    buffer = io.BytesIO()
    Image.fromarray(picture.image).save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    write_bytes(path, buffer.getvalue())


def _png(path: Path, pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _words(prompt: str) -> str:
    return prompt.removeprefix("a photo of ")


def _named(text: str) -> tuple[str, int | None]:
    name, _, seed = text.partition(":")
    return name, int(seed) if seed else None


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the module."""
    parser = argparse.ArgumentParser("python -m magicapture.world.samples", description="Write the rendered reference data.")
    parser.add_argument("out", type=Path, help="folder that gets person/ (or object/) and look/")
    parser.add_argument("--person", type=int, default=PERSON, help="seed of the person; default %(default)s")
    parser.add_argument("--object", type=_named, metavar="KIND[:SEED]", help=f"a thing instead of a person: {', '.join(KINDS)}")
    parser.add_argument(
        "--look",
        type=_named,
        metavar="FAMILY[:SEED]",
        help="family and seed of the look, default {}:{}; of a thing's texture, default {}:{}".format(*LOOK, *TEXTURE),
    )
    parser.add_argument("--count", type=int, default=5, help="pictures of each; default %(default)s")
    parser.add_argument("--size", type=int, default=SIZE, help="side in px; default %(default)s")
    options = parser.parse_args(arguments)
    family, seed = options.look or ((TEXTURE if options.object else LOOK)[0], None)
    look = family, LOOK[1] if seed is None else seed
    if options.object:
        kind, seed = options.object
        write_object_samples(options.out, (kind, OBJECT[1] if seed is None else seed), look, options.count, options.size)
    else:
        write_samples(options.out, options.person, look, options.count, options.size)


if __name__ == "__main__":
    main()
