"""A review in a real browser: by keyboard, kept at once, and open to everybody."""

import time
from collections.abc import Callable
from typing import Any

import pytest

from repaint_batch.outputs.reviews import Decision, Reviews, redos
from repaint_batch.review.server import ReviewServer
from repaint_batch.storage import Storage

from ..browser import until, violations
from ..restored import restore_here
from .conftest import EVIL

OpenPage = Callable[..., Any]
Serve = Callable[[str], ReviewServer]


def decided(output: str, count: int) -> dict[str, Decision]:
    """Return the decisions about an output, once there are so many."""
    end = time.monotonic() + 30
    while len(found := Reviews(output, Storage()).latest()) != count:
        assert time.monotonic() < end, f"{len(found)} decisions, not {count}"
        time.sleep(0.1)
    return {sample_id: decision for (sample_id, _), decision in found.items()}


def until_saved(page: Any) -> None:
    page.locator("#saved", has_text="Every decision is saved.").wait_for()


def test_deciding_by_keyboard_alone(
    open_page: OpenPage, serve: Serve, output: str, worst_first: list[str]
) -> None:
    page = open_page(serve(output).url)
    assert page.locator("#grid .name").all_inner_texts() == worst_first, "the likely wrong first; nothing of the row that failed"
    page.locator("#grid button").first.focus()
    page.keyboard.press("a")
    page.keyboard.press("x")
    page.keyboard.press("Enter")
    assert page.locator("#viewer-name").inner_text() == worst_first[2], "on to the next picture with every decision"
    page.keyboard.press("r")
    page.keyboard.press("p")
    page.keyboard.press("r")
    assert page.locator("#viewer-name").inner_text() == worst_first[4]
    page.keyboard.press("a")
    page.keyboard.press("k")
    page.keyboard.press("u")
    page.keyboard.press("Escape")
    assert page.locator("#tally").inner_text() == "4 of 7 decided: 1 accepted, 1 rejected, 2 to redo"
    assert page.locator("#grid .mark").all_inner_texts() == ["Accepted", "Rejected", "Redo: draft, seed 1", "Redo: fast, seed 1"]
    until_saved(page)
    made = decided(output, 4)
    assert [made[name].verdict for name in worst_first[:4]] == ["accept", "reject", "redo", "redo"]
    assert [(made[name].preset, made[name].seed) for name in worst_first[2:4]] == [("draft", 1), ("fast", 1)]


def test_undo_takes_back_the_last_decision_wherever_one_is(
    open_page: OpenPage, serve: Serve, output: str, worst_first: list[str]
) -> None:
    page = open_page(serve(output).url)
    page.locator("#grid button").first.focus()
    for key in "axa":
        page.keyboard.press(key)
    page.keyboard.press("u")
    page.keyboard.press("Enter")
    assert page.locator("#viewer-name").inner_text() == worst_first[2], "back at the picture that is open again"
    page.keyboard.press("r")
    page.locator("#undo").click()
    assert page.locator("#viewer-name").inner_text() == worst_first[2]
    page.keyboard.press("u")
    assert page.locator("#viewer-name").inner_text() == worst_first[1]
    page.keyboard.press("Escape")
    assert page.locator("#tally").inner_text() == "1 of 7 decided: 1 accepted, 0 rejected, 0 to redo"
    until_saved(page)
    assert {name: made.verdict for name, made in decided(output, 1).items()} == {worst_first[0]: "accept"}


def test_a_redo_with_another_preset_is_run_and_comes_back(
    open_page: OpenPage, serve: Serve, output: str, worst_first: list[str]
) -> None:
    server = serve(output)
    page = open_page(server.url)
    page.locator("#grid button").first.click()
    page.locator("#preset").select_option("fast")
    page.locator("#seed").fill("9007199254740993")  # more than a browser's numbers hold
    page.locator("#redo").click()
    page.keyboard.press("Escape")
    until_saved(page)
    ((config, before),) = redos(output, Storage()).jobs
    assert config.sampler.preset == "fast"
    restore_here(config.model_copy(update={"output": config.output.model_copy(update={"uri": output})}), retry_of=before.job_id)

    page.locator("#grid button").first.click()
    page.keyboard.press("a")
    page.locator("#saved", has_text=f"nothing was saved about: {worst_first[0]}").wait_for()
    page.close()
    page = open_page(server.url)
    assert page.locator("#tally").inner_text().startswith("0 of 7 decided"), "a new picture is nobody's decision yet"
    page.evaluate("name => { location.hash = '#sample=' + encodeURIComponent(name) }", worst_first[0])
    page.wait_for_selector("#viewer[open]")
    details = page.locator("#details").inner_text()
    assert "9007199254740993" in details.replace(",", "") or "9007199254740992" in details
    assert page.locator("#seed").input_value() == "9007199254740994"


def test_what_is_decided_is_there_when_the_page_is_opened_again(
    open_page: OpenPage, serve: Serve, output: str, worst_first: list[str]
) -> None:
    server = serve(output)
    page = open_page(server.url)
    page.locator("#grid button").first.focus()
    for key in "ax":
        page.keyboard.press(key)
    until_saved(page)
    page.close()
    page = open_page(server.url)
    assert page.locator("#found").inner_text() == "5 of 7 rows", "what is still to do comes first"
    page.locator("input[name=status][value=reject]").check(force=True)
    assert page.locator("#grid .name").all_inner_texts() == [worst_first[1]]
    page.locator("input[name=status][value='']").check(force=True)
    assert page.locator("#grid .name").count() == 7


def test_decisions_outlive_a_server_that_is_gone_for_a_while(
    open_page: OpenPage, serve: Serve, output: str
) -> None:
    page = open_page(serve(output).url, bears="status of 503")
    page.route("**/decisions", lambda route: route.fulfill(status=503, body="the store is away"), times=1)
    page.locator("#grid button").first.focus()
    page.keyboard.press("a")
    page.locator("#saved", has_text="trying again: the store is away").wait_for()
    page.keyboard.press("x")
    until_saved(page)
    assert sorted(decision.verdict for decision in decided(output, 2).values()) == ["accept", "reject"]


def test_hostile_names_stay_text(open_page: OpenPage, serve: Serve, output: str) -> None:
    page = open_page(serve(output).url)
    page.fill("#search", "onerror")
    assert page.locator("#grid .name").all_inner_texts() == [EVIL]
    page.locator("#grid button").first.click()
    assert page.locator("#viewer-name").inner_text() == EVIL
    until(page, "document.querySelector('#after').naturalWidth > 0")  # its picture has an address too
    page.keyboard.press("a")
    page.keyboard.press("Escape")
    assert page.locator("img[onerror]").count() == 0
    until_saved(page)
    assert decided(output, 1)[EVIL].verdict == "accept"


@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_violates_accessibility_rules(
    open_page: OpenPage, serve: Serve, output: str, width: int, scheme: str
) -> None:
    page = open_page(serve(output).url, width=width, scheme=scheme)
    page.locator("#grid button").first.focus()
    for key in "axr":
        page.keyboard.press(key)
    faults = violations(page, "grid")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"
    for number in range(4):
        page.locator("#grid button").nth(number).click()
        faults += violations(page, f"viewer {number}")
        if number == 0:
            page.wait_for_selector("#pixels:not([hidden])")
            page.keyboard.press("+")
            page.keyboard.press("e")
            page.wait_for_selector("#tools:not([hidden])")
            page.keyboard.press("Space")
            page.keyboard.press("Space")
            faults += violations(page, "correcting")
            assert page.evaluate("document.querySelector('#viewer').scrollWidth") <= width, "it scrolls sideways"
            assert page.locator("#stage").bounding_box()["height"] > 180
            page.keyboard.press("Escape")
        page.keyboard.press("Escape")
    assert not faults
