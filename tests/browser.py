"""A real browser for tests of pages; skipped, with the reason, where there is none."""

import shutil
import time
from collections.abc import Callable, Iterator
from importlib import resources
from typing import Any

import pytest

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium, driven by Playwright."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[test]'")
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for path in map(shutil.which, names) if path), None)
    if found is None:
        pytest.skip("no Chromium on the PATH: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a URL at a width and a colour scheme.

    It fails the test on any error of the page but those that hold what it `bears`, and any request but to its own server.
    """
    contexts, faults = [], []

    def opened(url: str, *, width: int = 1280, scheme: str = "light", ready: bool = True, bears: str = "nothing") -> Any:
        own = ("file:", "data:") if url.startswith("file:") else (url.partition("#")[0],)
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("console", lambda message: bears in message.text or faults.append(f"console: {message.text}"))
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.on("request", lambda request: request.url.startswith(own) or faults.append(f"request: {request.url}"))
        page.goto(url, wait_until="commit")
        if ready:
            page.wait_for_selector("html[data-ready]")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults, faults


def until(page: Any, condition: str, timeout_s: float = 20.0) -> None:
    """Wait for a JavaScript condition; Playwright's own waiting needs eval, which the page's policy forbids."""
    end = time.monotonic() + timeout_s
    while not page.evaluate(condition):
        assert time.monotonic() < end, f"still not so: {condition}"
        page.wait_for_timeout(50)


def violations(page: Any, where: str) -> list[str]:
    """Return what axe-core finds wrong with a page."""
    pytest.importorskip("axe_playwright_python", reason="axe-core is not installed: pip install '.[test]'")
    page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8"))
    answer = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [f"{where}: {fault['impact']} {fault['id']}" for fault in answer["violations"]]
