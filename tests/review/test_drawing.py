"""Full pixels and correcting a mask, in a real browser: by mouse, finger and keyboard, at any zoom."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from repaint_batch.outputs.reviews import Reviews, redos
from repaint_batch.review.server import ReviewServer
from repaint_batch.storage import Storage

from ..browser import until
from .test_browser import until_saved

OpenPage = Callable[..., Any]
Serve = Callable[[str], ReviewServer]

ZOOM = "eye.zoom / fitting()"
HOLE = "[...draft.mask.bits].map(byte => byte.toString(2).padStart(8, '0')).join('')"


@pytest.fixture
def opened(open_page: OpenPage, serve: Serve, output: str) -> Callable[..., Any]:
    """Opens the viewer of a picture of 16 px whose hole is its upper left quarter."""

    def show(**options: Any) -> Any:
        page = open_page(serve(output).url + "#sample=picture-0000", **options)
        page.wait_for_selector("#pixels:not([hidden])")
        return page

    return show


def hole(page: Any) -> np.ndarray:
    """Return the mask that is being drawn, (16, 16) bool."""
    return np.array([digit == "1" for digit in page.evaluate(HOLE)]).reshape(16, 16)


def at(page: Any, x: float, y: float) -> tuple[float, float]:
    """Return where a point of the picture is in the window."""
    box = page.locator("#stage").bounding_box()
    where = page.evaluate("eye")
    left = box["x"] + box["width"] / 2 + (x - where["x"]) * where["zoom"]
    return left, box["y"] + box["height"] / 2 + (y - where["y"]) * where["zoom"]


def drag(page: Any, *points: tuple[float, float], button: str = "left") -> None:
    page.mouse.move(*at(page, *points[0]))
    page.mouse.down(button=button)
    for point in points[1:]:
        page.mouse.move(*at(page, *point), steps=4)
    page.mouse.up(button=button)


def test_wheel_and_keys_zoom_and_before_and_after_stay_at_one_place(opened: Callable[..., Any]) -> None:
    page = opened()
    x, y = at(page, 12, 4)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    until(page, f"{ZOOM} > 2")
    assert page.evaluate(f"under({x}, {y})") == pytest.approx([12, 4], abs=0.1), "what the pointer is on stays under it"
    page.keyboard.press("+")
    page.keyboard.press("ArrowLeft")
    there = page.evaluate("eye")
    page.keyboard.press("v")
    assert page.locator("#divider").input_value() == "0"
    page.keyboard.press("v")
    assert page.locator("#divider").input_value() == "100"
    assert page.evaluate("eye") == there
    drag(page, (there["x"], there["y"]), (there["x"] + 1, there["y"]))
    assert page.evaluate("eye.x") == pytest.approx(there["x"] - 1, abs=0.1)
    page.keyboard.press("0")
    assert page.evaluate(ZOOM) == 1
    page.keyboard.press("h")
    assert page.locator("#stops").inner_text() == "1 / 1"
    assert page.evaluate("[eye.x, eye.y]") == [8, 8], "a picture this small is wholly there, however large it is shown"


def touch(session: Any, *steps: tuple[tuple[float, float], ...]) -> None:
    """Put fingers down, move them from step to step, and lift them."""
    for number, fingers in enumerate([*steps, ()]):
        kind = "touchMove" if 0 < number < len(steps) else "touchEnd" if number else "touchStart"
        points = [{"x": x, "y": y, "id": finger} for finger, (x, y) in enumerate(fingers)]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_one_finger_draws_two_zoom_and_a_pens_second_button_erases(opened: Callable[..., Any]) -> None:
    page = opened(width=400)
    session = page.context.new_cdp_session(page)
    x, y = at(page, 8, 8)
    touch(session, *(((x - apart, y), (x + apart, y)) for apart in (20, 40, 60)))
    assert page.evaluate(ZOOM) == pytest.approx(3, rel=0.05)
    page.keyboard.press("0")
    page.keyboard.press("e")
    page.wait_for_selector("#tools:not([hidden])")
    touch(session, (at(page, 9.5, 12.5),), (at(page, 13.5, 12.5),))
    expected = np.zeros((16, 16), dtype=bool)
    expected[:8, :8] = expected[12, 9:14] = True
    assert (hole(page) == expected).all()
    for kind, point in (("Pressed", (3.5, 3.5)), ("Moved", (5.5, 3.5)), ("Released", (5.5, 3.5))):
        where = dict(zip("xy", at(page, *point), strict=True))
        pen = {"pointerType": "pen", "button": "right", "buttons": 0 if kind == "Released" else 2}
        session.send("Input.dispatchMouseEvent", {"type": f"mouse{kind}", **where, **pen})
    expected[3, 3:6] = False
    assert (hole(page) == expected).all()


def test_brush_eraser_line_and_undo_by_mouse_at_two_zooms(opened: Callable[..., Any]) -> None:
    page = opened()
    page.keyboard.press("e")
    page.wait_for_selector("#tools:not([hidden])")
    first = np.zeros((16, 16), dtype=bool)
    first[:8, :8] = True
    assert (hole(page) == first).all()
    page.keyboard.press("[")
    assert page.locator("#size-words").inner_text() == "1 px"
    drag(page, (10.5, 2.5), (14.5, 2.5))
    brushed = first.copy()
    brushed[2, 10:15] = True
    assert (hole(page) == brushed).all()
    page.keyboard.press("+")
    page.locator("#eraser").click()
    drag(page, (6.5, 6.5), (6.5, 9.5))
    erased = brushed.copy()
    erased[6:10, 6] = False
    assert (hole(page) == erased).all()
    page.keyboard.press("l")
    drag(page, (9.5, 6.5), (9.5, 10.5))
    lined = erased.copy()
    lined[6:11, 9] = True
    assert (hole(page) == lined).all()
    for key, expected in (("u", erased), ("Control+z", brushed), ("Shift+U", erased), ("Control+Shift+z", lined)):
        page.keyboard.press(key)
        assert (hole(page) == expected).all(), key
    page.locator("#afresh").click()
    assert (hole(page) == first).all()
    assert page.locator("#redo-mask").is_disabled()
    page.locator("#back").click()
    assert (hole(page) == lined).all()


def test_a_mask_drawn_by_keyboard_is_sent_with_the_redo_and_there_again(
    open_page: OpenPage, serve: Serve, opened: Callable[..., Any], output: str
) -> None:
    page = opened()
    for key in ["e", "["]:
        page.keyboard.press(key)
        page.wait_for_selector("#tools:not([hidden])")
    page.keyboard.press("r")
    assert page.locator("#told").inner_text() == "The mask is as it was; draw on it first."
    for key in ["Space", *["ArrowRight"] * 4, "Space", "ArrowUp", "Space", "ArrowUp", "Escape"]:
        page.keyboard.press(key)
    expected = np.zeros((16, 16), dtype=bool)
    expected[:8, :8] = expected[8, 8:13] = True
    assert (hole(page) == expected).all(), "Escape takes the second stroke back"
    page.keyboard.press("a")
    for key in ["r", "u", "p", "r", "Escape"]:  # redo, undone, and asked for once more with another preset: still with the mask
        page.keyboard.press(key)
    until(page, "!queue.length && !sending")
    until_saved(page)
    (decision,) = Reviews(output, Storage()).latest().values()
    assert (decision.sample_id, decision.verdict) == ("picture-0000", "redo"), "no key decides by accident"
    ((config, _),) = redos(output, Storage()).jobs
    assert config.images.hole == "white"
    kept = f"{output}/masks/corrected/{decision.image_sha256}/{decision.mask_sha256}.png"
    with Image.open(kept) as mask:
        assert mask.mode == "1"
        assert (np.asarray(mask) == expected).all()
    page = open_page(serve(output).url + "#sample=picture-0000")
    page.wait_for_selector("#pixels:not([hidden])")
    page.keyboard.press("e")
    page.wait_for_selector("#tools:not([hidden])")
    assert (hole(page) == expected).all()
    assert page.evaluate("markOf(open)") == "Redo: fast, seed 1, mask corrected"


def test_a_mask_that_is_refused_is_said_and_its_redo_not_recorded(opened: Callable[..., Any], output: str) -> None:
    page = opened(bears="status of 422")
    page.route("**/masks/**", lambda route: route.fulfill(status=422, body="mask: does not fit."))
    page.keyboard.press("e")
    page.wait_for_selector("#tools:not([hidden])")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    page.keyboard.press("r")
    page.locator("#saved", has_text="Not saved: mask: does not fit. Reload the page.").wait_for(state="attached")
    assert Reviews(output, Storage()).latest() == {}
