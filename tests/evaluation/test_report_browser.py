"""The report in a real browser, on a phone's and on a desktop's screen."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.evaluation.browser import Open, contrasts, unnamed, unreached

SEEDS = "[...document.querySelectorAll('#portrait-grid figure:not([hidden])')].map(figure => figure.dataset.seed)"


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(open_page: Open, page: Path, width: int) -> None:
    shown = open_page(page, width)
    assert shown.evaluate("document.documentElement.scrollWidth") <= width
    outside = shown.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => { const r = e.getBoundingClientRect();"
        " return !e.closest('.scroll') && r.width && (r.right > innerWidth + 1 || r.left < -1) }).map(e => e.tagName + '.' + e.className)"
    )
    assert outside == []


def test_portraits_come_first_and_large_and_every_picture_is_loaded(open_page: Open, page: Path) -> None:
    shown = open_page(page, 390)
    box = shown.locator(".gallery img").first.bounding_box()
    assert box is not None and box["y"] < 600 and box["width"] > 340
    sizes = shown.evaluate("[...document.images].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width])")
    assert len(sizes) > 50
    assert all(complete and natural > 0 and width >= 40 for complete, natural, width in sizes)


def test_no_request_and_no_complaint(open_page: Open, page: Path) -> None:
    asked: list[str] = []
    shown = open_page(page, 390, before=lambda blank: blank.on("request", lambda request: asked.append(request.url)))
    shown.locator(".zoom").first.click()
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]  # complaints fail in open_page's own teardown


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_every_text_and_control_stands_out_from_its_ground(open_page: Open, page: Path, width: int, scheme: str) -> None:
    shown = open_page(page, width, scheme)
    assert contrasts(shown) == []
    light = shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(250, 248, 245)"
    assert light is (scheme == "light")
    shown.locator(".zoom").first.click()
    assert contrasts(shown) == []
    small = "[...document.querySelectorAll('p, td, th, figcaption, label, dd, dt, li')].map(e => parseFloat(getComputedStyle(e).fontSize))"
    assert min(shown.evaluate(small)) >= 13


def test_every_control_has_a_name_and_is_reached_by_tab(open_page: Open, page: Path) -> None:
    shown = open_page(page, 1280)
    assert unnamed(shown) == []
    assert unreached(shown) == []
    landmarks = shown.locator("body").aria_snapshot()
    for landmark in ("- banner:", "- navigation", "- main", "- contentinfo"):
        assert landmark in landmarks
    assert shown.evaluate(
        "[...document.querySelectorAll('section')].every(s => document.getElementById(s.getAttribute('aria-labelledby')))"
    )
    shown.evaluate("document.activeElement.blur()")
    expect(shown.get_by_role("table")).to_have_count(2)
    headings = shown.evaluate("[...document.querySelectorAll('h1, h2, h3, h4')].map(h => Number(h.tagName[1]))")
    assert headings[0] == 1 and headings.count(1) == 1 and all(b <= a + 1 for a, b in pairwise(headings))


def test_portraits_are_sorted_and_filtered(open_page: Open, page: Path) -> None:
    shown = open_page(page, 1280)
    by_rank = shown.evaluate(SEEDS)
    shown.get_by_label("Sort by").select_option("aesthetic")
    scores = shown.evaluate("[...document.querySelectorAll('#portrait-grid figure')].map(figure => Number(figure.dataset.aesthetic))")
    assert scores == sorted(scores, reverse=True) and shown.evaluate(SEEDS) != by_rank
    shown.get_by_label("Sort by").select_option("likeness")
    assert shown.evaluate(SEEDS)[-1] == "1003"  # no face was found in it: no likeness
    shown.get_by_label("Sort by").select_option("seed")
    assert shown.evaluate(SEEDS) == [str(seed) for seed in range(1000, 1008)]
    assert shown.locator("#portrait-grid .hero").get_attribute("data-seed") == "1000"
    shown.locator("select[name=seed]").select_option("1005")
    assert shown.evaluate(SEEDS) == ["1005"]
    expect(shown.locator(".controls output")).to_have_text("1 of 8 shown")
    shown.locator("select[name=seed]").select_option("")
    shown.get_by_label("Sort by").select_option("rank")
    assert shown.evaluate(SEEDS) == by_rank


@pytest.mark.parametrize("width", [390, 1280])
def test_enlarging_by_keyboard_and_the_way_back(open_page: Open, page: Path, width: int) -> None:
    shown = open_page(page, width)
    dialog, second = shown.get_by_role("dialog"), shown.get_by_role("button", name="Enlarge portrait 2")
    second.focus()
    shown.keyboard.press("Enter")
    expect(dialog).to_be_visible()
    expect(dialog.locator("img")).to_have_attribute("alt", shown.locator("#portrait-grid img").nth(1).get_attribute("alt") or "none")
    expect(dialog.locator(".count")).to_have_text("2 of 8")
    expect(dialog.locator("figcaption")).to_contain_text("a photo of a [V1] person in the [V2] style")
    box, screen = dialog.locator("img").bounding_box(), shown.viewport_size
    assert box is not None and screen is not None
    assert min(box["width"], box["height"]) > 0.6 * min(screen.values()) and box["y"] + box["height"] < screen["height"]
    for key, place in (
        ("ArrowRight", 3),
        ("ArrowRight", 4),
        ("ArrowLeft", 3),
        ("Home", 1),
        ("ArrowLeft", 8),
        ("ArrowRight", 1),
        ("End", 8),
    ):
        shown.keyboard.press(key)
        expect(dialog.locator(".count")).to_have_text(f"{place} of 8")
    for _ in range(4):  # the focus stays inside
        shown.keyboard.press("Tab")
        assert shown.evaluate("document.activeElement === document.body || !!document.activeElement.closest('dialog')")
    shown.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(shown.get_by_role("button", name="Enlarge portrait 8")).to_be_focused()
    second.click()
    dialog.get_by_role("button", name="Next picture").click()
    expect(dialog.locator(".count")).to_have_text("3 of 8")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_only_what_is_shown_is_paged_through(open_page: Open, page: Path) -> None:
    shown = open_page(page, 1280)
    shown.locator("select[name=seed]").select_option("1005")
    shown.locator("#portrait-grid .zoom:visible").click()
    expect(shown.get_by_role("dialog").locator(".count")).to_have_text("1 of 1")


def test_before_and_after_by_mouse_and_by_keyboard(open_page: Open, page: Path) -> None:
    shown = open_page(page, 390)
    handle = shown.get_by_role("slider")
    at = "document.querySelector('.slider').style.getPropertyValue('--at')"
    handle.focus()
    shown.keyboard.press("End")
    assert shown.evaluate(at) == "100%"
    shown.keyboard.press("ArrowLeft")
    assert shown.evaluate(at) == "99%"
    expect(handle).to_have_attribute("aria-valuetext", "99 % before")
    box = handle.bounding_box()
    assert box is not None
    shown.mouse.click(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    assert 20 <= float(shown.evaluate(at).rstrip("%")) <= 30
    shown.get_by_role("button", name="Portrait 3", exact=True).click()
    figure = shown.locator("#portrait-grid [data-rank='3']")
    expect(shown.locator(".slider .over")).to_have_attribute("src", figure.get_attribute("data-before") or "none")
    expect(shown.locator(".slider img").first).to_have_attribute("src", figure.locator("img").get_attribute("src") or "none")


def test_each_token_has_a_switch(open_page: Open, page: Path) -> None:
    shown = open_page(page, 1280)
    expect(shown.locator(".map.v1:visible")).to_have_count(3)
    shown.get_by_label("[V1], the person").uncheck()
    expect(shown.locator(".map.v1:visible")).to_have_count(0)
    expect(shown.locator(".map.v2:visible")).to_have_count(3)
    grey = "getComputedStyle(document.querySelector('.overlay .ground')).filter"
    assert "grayscale" in shown.evaluate(grey)
    shown.get_by_label("[V2], the look").uncheck()
    expect(shown.locator(".map:visible")).to_have_count(0)
    assert shown.evaluate(grey) == "none"  # the picture as it is


def test_the_colours_can_be_chosen_and_are_remembered(open_page: Open, page: Path) -> None:
    shown = open_page(page, 1280, "light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = shown.evaluate(ground)
    shown.get_by_label("Colours").select_option("dark")
    dark = shown.evaluate(ground)
    assert dark != light
    shown.reload()
    assert shown.evaluate(ground) == dark
    expect(shown.get_by_label("Colours")).to_have_value("dark")
    shown.get_by_label("Colours").select_option("auto")
    assert shown.evaluate(ground) == light


def test_paper_gets_all_of_it_and_no_controls(open_page: Open, page: Path) -> None:
    shown = open_page(page, 1280, "dark")
    shown.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown.emulate_media(media="print")
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    for hidden in (".controls", "nav", ".theme", ".choice", ".switches"):
        expect(shown.locator(hidden).first).to_be_hidden()
    expect(shown.locator("pre")).to_be_visible()
    assert shown.pdf(format="A4")[:5] == b"%PDF-"


def test_complete_without_script(open_page: Open, page: Path) -> None:
    shown = open_page(page, 390, script=False)
    expect(shown.locator("#portrait-grid img")).to_have_count(8)
    for useless in (".controls", ".theme", ".choice"):
        expect(shown.locator(useless)).to_be_hidden()
    shown.get_by_label("[V1], the person").uncheck()
    expect(shown.locator(".map.v1:visible")).to_have_count(0)


def test_the_checks_find_what_is_wrong(open_page: Open, tmp_path: Path) -> None:
    """Grey on grey, a button without a name, one that Tab does not reach, a picture without words."""
    bad = tmp_path / "bad.html"
    bad.write_text(
        '<!doctype html><title>bad</title><p style="color:#999;background:#aaa">pale</p><button></button>'
        '<button tabindex="-1">far</button><img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">'
    )
    shown = open_page(bad, 390)
    assert [text for text, _ in contrasts(shown)] == ["pale"]
    assert unnamed(shown) == ["BUTTON", "IMG"]
    assert unreached(shown) == ["BUTTON far"]
