"""The report in a real browser: viewer, filter, keyboard, hostile names, 10,000 rows, accessibility."""

import functools
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repaint_batch.report.demo import DemoCard, DemoSummary, write_demo_report
from repaint_batch.report.page import report_html
from repaint_batch.report.thumbnails import thumbnails

from ..browser import until, violations
from .fabricated import EVIL, Written, facts, png, result_row, results

OpenPage = Callable[..., Any]


def names(page: Any) -> list[str]:
    return page.locator("#grid .name").all_inner_texts()


def found(page: Any) -> str:
    return page.locator("#found").inner_text()


def test_what_is_likely_wrong_comes_first_and_orders_change(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url)
    by_risk = sorted((row for row in written.rows if row["risk"]), key=lambda row: -row["risk"])
    assert names(page)[:5] == [row["sample_id"] for row in by_risk[:5]]
    page.select_option("#sort", "name")
    assert names(page)[1:4] == ["failed " + EVIL, "pictures/00000", "pictures/00001"]


def test_pictures_are_decoded_before_and_after(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url)
    first = page.locator("#grid li").nth(1).locator("img")
    until(page, "[...document.querySelectorAll('#grid img')].every(i => i.complete && i.naturalWidth === 128)")
    assert first.count() == 2
    assert first.nth(0).get_attribute("src") != first.nth(1).get_attribute("src")


def test_known_pixels_that_changed_are_never_called_unchanged(open_page: OpenPage, written: Written) -> None:
    said = open_page(written.url).evaluate("[0, 17.26, 900, null].map(known)")
    assert said == [
        "unchanged", "re-encoded, at most 17.3 of 255", "re-encoded, at most 900 of 65,535", "unchanged before it was encoded",
    ]  # fmt: skip


def test_filter_by_text_and_status(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url)
    assert found(page) == "60 rows"
    page.fill("#search", "PICTURES /0001")
    assert found(page) == "10 of 60 rows"
    assert all(name.startswith("pictures/0001") for name in names(page))
    page.locator("input[name=status][value=failed]").check(force=True)
    assert names(page) == ["pictures/00019"]
    page.fill("#search", "no such thing")
    assert page.locator("#none").is_visible()
    page.click("#clear")
    assert found(page) == "60 rows"


def test_slider_divides_the_picture_by_keyboard_and_pointer(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url + "#sample=pictures%2F00000")
    divider = page.locator("#divider")
    assert page.evaluate("document.activeElement.id") == "divider"
    page.keyboard.press("ArrowRight")
    assert divider.input_value() == "51"
    page.keyboard.press("Home")
    assert divider.get_attribute("aria-valuetext") == "0 % before, 100 % after"
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, box["y"] + 60)
    page.mouse.up()
    assert abs(int(divider.input_value()) - 75) <= 1
    cut = page.locator("#after").evaluate("image => getComputedStyle(image).clipPath")
    assert cut == f"inset(0px 0px 0px {divider.input_value()}%)"


def test_slider_shows_source_left_of_the_divider_and_output_right(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url + "#sample=pictures%2F00000")
    until(page, "document.querySelector('#after').complete && document.querySelector('#before').complete")
    stage = page.locator("#stage").bounding_box()
    at = {"x": stage["x"] + stage["width"] * 0.25, "y": stage["y"] + stage["height"] * 0.3, "width": 4, "height": 4}
    page.keyboard.press("End")
    before = page.screenshot(clip=at)
    page.keyboard.press("Home")
    after = page.screenshot(clip=at)
    assert colour(before) == pytest.approx((128, 128, 128), abs=10)  # the grey of the hole
    assert colour(after)[2] == pytest.approx(90, abs=10)  # the gradient's blue
    page.keyboard.press("m")
    page.keyboard.press("End")
    until(page, "document.querySelector('#hole').complete")
    red, green, _ = colour(page.screenshot(clip=at))
    assert red > green + 40  # the hole is marked


def colour(picture: bytes) -> tuple[float, ...]:
    return tuple(np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=float).mean((0, 1)))


def test_a_detail_stands_beside_the_overview_of_a_large_picture(open_page: OpenPage, tmp_path: Path) -> None:
    picture, mask = png(np.full((700, 900, 3), 120, np.uint8)), np.zeros((700, 900), np.uint8)
    mask[300:306, 400:500] = 255
    path = tmp_path / "report.html"
    fetched = (picture, png(mask), picture)
    path.write_text(report_html(results([result_row(0)]), lambda row: fetched, facts(1), thumbnails))
    page = open_page(path.as_uri(), width=400)
    page.locator("#grid button").click()
    until(page, "['detail-before', 'detail-after'].every(id => $(id).naturalWidth === 256)")
    assert page.locator("#detail").is_visible()
    assert page.evaluate("$('viewer').scrollWidth") <= 400
    assert not violations(page, "detail")


def test_viewer_walks_closes_and_returns_the_focus(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url)
    listed = names(page)
    page.locator("#grid button").nth(1).click()
    assert page.locator("#viewer-name").inner_text() == listed[1]
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.locator("#viewer-name").inner_text() == listed[2]
    assert page.evaluate("decodeURIComponent(location.hash)") == "#sample=" + listed[2]
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    assert page.evaluate("document.activeElement.querySelector('.name').textContent") == listed[2]


def test_grid_and_tabs_by_keyboard_alone(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url)
    listed = names(page)
    page.locator("#grid button").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    assert page.locator("#viewer-name").inner_text() == listed[1]
    page.keyboard.press("Escape")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.parentElement.getAttribute('aria-posinset')") == "60"
    in_view = "document.activeElement.getBoundingClientRect().bottom <= innerHeight"
    assert page.evaluate(in_view)
    page.locator("#tab-pictures").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#run").is_visible()
    assert not page.locator("#pictures").is_visible()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-failed"
    assert page.locator("#failed").is_visible()


def test_deep_link_opens_the_sample_even_with_a_hostile_name(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url)
    page.evaluate("name => { location.hash = '#sample=' + encodeURIComponent(name) }", EVIL)
    page.wait_for_selector("#viewer[open]")
    assert page.locator("#viewer-name").inner_text() == EVIL
    page.keyboard.press("Escape")
    page.click("#tab-failed")
    page.locator(".failed-list a").first.click()
    page.wait_for_selector("#viewer[open]")
    assert page.locator("#viewer-name").inner_text() == "failed " + EVIL
    assert page.locator("#reason").inner_text() == f"{EVIL}\n{EVIL}"


def test_hostile_names_stay_text(open_page: OpenPage, written: Written) -> None:
    page = open_page(written.url)
    for tab in ("run", "failed", "pictures"):
        page.click(f"#tab-{tab}")
    page.fill("#search", "onerror")
    page.locator("#grid button").first.click()
    assert page.locator("img[onerror]").count() == 0
    assert page.locator("script").count() == 3  # rows, one block of pictures, the page's own
    assert page.title() == "Restoration report: s3://bucket/restored corpus"
    assert EVIL in page.locator("#details").inner_text()


def test_policy_stops_scripts_that_are_not_the_pages_own(chromium: Any, written: Written) -> None:
    page = chromium.new_page()
    page.goto(written.url)
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"document.title=`owned`\">')")
    page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'document.title=`owned`'}))")
    page.wait_for_timeout(200)
    assert page.title() != "owned"
    page.close()


def test_figures_and_failures_need_no_script(chromium: Any, written: Written) -> None:
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(written.url)
    assert page.locator("#run svg").first.is_visible()
    assert page.locator("#failed code", has_text="retry-failed").inner_text() == (
        "repaint-batch retry-failed 's3://bucket/restored corpus'"
    )
    context.close()


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_violates_accessibility_rules(
    open_page: OpenPage, written: Written, demo_url: str, width: int, scheme: str
) -> None:
    page = open_page(written.url, width=width, scheme=scheme)
    faults = violations(page, "pictures")
    for tab in ("run", "failed", "pictures"):
        page.click(f"#tab-{tab}")
        faults += violations(page, tab)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{tab} scrolls sideways"
    page.locator("#grid button").nth(1).click()
    faults += violations(page, "viewer")
    faults += violations(open_page(demo_url, width=width, scheme=scheme, ready=False), "demo")
    assert not faults


@pytest.fixture(scope="session")
def demo_url(tmp_path_factory: pytest.TempPathFactory, gradient: np.ndarray) -> str:
    path = tmp_path_factory.mktemp("demo") / "report.html"
    picture = png(gradient)
    cards = [DemoCard(f"card-{n}", "dust", picture, picture, picture, picture, 20.0, 18.0, 0.7, 0.6, "CC0") for n in range(4)]
    write_demo_report(path, cards, DemoSummary(1.0, 60, 84, "fast", "bundled:photo"))
    return path.as_uri()


def test_ten_thousand_rows_stay_smooth(open_page: OpenPage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Pictures whose thumbnails about fill what a row may take; made once for each picture, not for each row.
    rng = np.random.default_rng(0)
    cells = [Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)) for _ in range(40)]
    pool = [png(np.asarray(picture.resize((96, 96), Image.Resampling.BICUBIC))) for picture in cells]
    mask = png((rng.random((96, 96)) < 0.5).astype(np.uint8) * 255)
    rows = [result_row(number, "failed" if number % 50 == 7 else "ok") for number in range(10_000)]
    path = tmp_path / "report.html"

    def fetch(row: dict[str, Any]) -> tuple[bytes, bytes, bytes]:
        number = int(row["sample_id"][-5:])
        return pool[number % 40], mask, pool[(number + 1) % 40]

    size = path.write_text(report_html(results(rows), fetch, facts(10_000), functools.lru_cache(thumbnails)))
    assert 35_000_000 < size <= 60_000_000
    began = time.perf_counter()
    page = open_page(path.as_uri())
    opened = time.perf_counter() - began
    began = time.perf_counter()
    page.fill("#search", "0999")
    assert found(page) == "11 of 10,000 rows"
    filtered = time.perf_counter() - began
    with capsys.disabled():
        print(f"\n10,000 rows, {size / 1e6:.1f} MB: opened in {opened:.2f} s, filtered in {filtered:.2f} s")
    page.fill("#search", "")
    assert page.locator("#grid li").count() < 100
    page.evaluate("scrollTo(0, document.body.scrollHeight / 2)")
    until(page, "document.querySelectorAll('#grid li')[20].getAttribute('aria-posinset') > 4000")
    assert page.locator("#grid li").count() < 100
    until(page, "[...document.querySelectorAll('#grid img')].every(i => i.complete && i.naturalWidth)")
