"""Faces that are there although nothing is found at first sight."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from magicapture.faces.analysis import Face, FaceDetector
from magicapture.faces.parse import Parser
from magicapture.packs import Pack
from magicapture.references.second_look import far_face, quarter_turn, with_skin
from magicapture.world.looks import Look
from magicapture.world.nuisance import Nuisance
from magicapture.world.people import Person
from magicapture.world.render import render, render_background

PICTURE = render(Person.sample(7_000_001), Look.sample(10_000_001, "office"), Nuisance.frontal(), 256)


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
def test_the_turn_that_puts_a_picture_upright(mini_pack: Pack, quarters: int) -> None:
    lying = np.ascontiguousarray(np.rot90(PICTURE.image, quarters))
    detector = FaceDetector(mini_pack)
    upright = detector.detect(lying)[0] if quarters == 0 else None
    assert quarter_turn(detector, lying, upright) == 90 * quarters


def test_a_small_face_is_found_from_near_and_nobody_in_an_empty_place(mini_pack: Pack) -> None:
    detector, parser = FaceDetector(mini_pack), Parser(mini_pack)
    place = render_background(Look.sample(10_000_001, "passport"), 512)
    assert far_face(detector, parser, place) is None
    place[300:364, 380:444] = cv2.resize(PICTURE.image, (64, 64), interpolation=cv2.INTER_AREA)
    face = far_face(detector, parser, place)
    assert face is not None and 0.05 < face.height / 512 < 0.12
    assert np.abs((face.box[:2] + face.box[2:]) / 2 - [412, 328]).max() < 12


def test_what_the_parser_sees_no_face_in_is_none(mini_pack: Pack) -> None:
    real = FaceDetector(mini_pack).detect(PICTURE.image)[0]
    corner = Face(np.array([2, 2, 40, 44], np.float32), real.keypoints, 0.9)  # the office wall
    assert with_skin(Parser(mini_pack), PICTURE.image, [real, corner]) == [real]
