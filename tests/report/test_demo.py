"""The demo's page: every card on it, nothing fetched, nothing injected."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from repaint_batch.report.demo import DemoCard, DemoSummary, contact_sheet, demo_html, write_demo_report
from repaint_batch.report.embedding import encoded

SUMMARY = DemoSummary(seconds=84.2, nfe=60, windows=84, preset="fast", prior="bundled:photo", where="demo-output")


def png(pixels: np.ndarray) -> bytes:
    return encoded(Image.fromarray(pixels))


def card(name: str, kind: str, gradient: np.ndarray, psnr_db: float = 20.0, telea_db: float = 18.0) -> DemoCard:
    damaged = gradient.copy()
    damaged[8:16, 8:16] = 255
    picture = png(gradient)
    return DemoCard(name, kind, png(damaged), picture, picture, picture, psnr_db, telea_db, 0.71, 0.64, "A lake, CC0")


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_page_shows_every_card_grouped_by_kind(tmp_path: Path, gradient: np.ndarray) -> None:
    cards = [card(f"p{n}", kind, gradient) for n, kind in enumerate(["torn", "dust", "scratches", "dust"])]
    write_demo_report(tmp_path / "report.html", cards, SUMMARY)
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(Page(html).all("img")) == 4 * 4
    places = [html.index(f">{title} <") for title in ("Scratches", "Dust", "Torn corner")]
    assert places == sorted(places)
    assert html.count("A lake, CC0") == 1, "a photograph is credited once"
    assert "1 min 24 s" in html


def test_figures_are_means_over_the_cards(gradient: np.ndarray) -> None:
    cards = [card("a", "dust", gradient, 20.0, 18.0), card("b", "dust", gradient, 23.0, 25.0)]
    html = demo_html(cards, SUMMARY)
    assert "21.5 dB, Telea 21.5 dB; closer in 1 of 2" in html
    assert "23.0 dB, 0.71" in html
    assert "25.0 dB, 0.64" in html


def test_page_fetches_nothing_and_every_picture_has_words(gradient: np.ndarray) -> None:
    html = demo_html([card("a", "dust", gradient)], SUMMARY)
    page = Page(html)
    assert not page.all("script")
    assert not page.all("link")
    assert all((image["src"] or "").startswith("data:image/webp;base64,") for image in page.all("img"))
    assert all(image["alt"] for image in page.all("img"))
    assert "http:" not in html
    assert "https:" not in html
    assert "default-src 'none'" in html


def test_names_cannot_bring_markup(gradient: np.ndarray) -> None:
    html = demo_html([card('"><script>alert(1)</script>', "<b>kind", gradient)], SUMMARY)
    assert not Page(html).all("script")
    assert len(Page(html).all("img")) == 4


def test_small_pictures_are_enlarged_smoothly(gradient: np.ndarray) -> None:
    html = demo_html([card("a", "dust", gradient)], SUMMARY)
    shown = [
        Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA")
        for data in re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", html)
    ]
    assert all(picture.size == (192, 192) for picture in shown)
    damaged, restored = np.asarray(shown[0]), np.asarray(shown[2])
    assert damaged[60:84, 60:84, :3].min() > 240
    steps = np.abs(np.diff(restored[96, :, 0].astype(int)))
    assert steps.max() < 8  # a mosaic would step by 255 / 31 only at every sixth pixel
    assert (steps > 0).mean() > 0.5


def test_no_cards_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        demo_html([], SUMMARY)


@pytest.mark.parametrize("telea", [False, True])
def test_contact_sheet_holds_the_pictures_in_order(gradient: np.ndarray, telea: bool) -> None:
    plain = png(np.zeros((32, 32, 3), np.uint8))
    cards = [card("a", "dust", gradient), replace(card("b", "dust", gradient), damaged=plain, restored=plain, original=plain)]
    sheet = contact_sheet(cards, across=1, picture_px=64, telea=telea)
    columns = 4 if telea else 3
    assert sheet.width == 2 * 20 + columns * 64 + (columns - 1) * 4
    pixels = np.asarray(sheet)
    first, second = pixels[20 + 22 : 20 + 22 + 64], pixels[20 + 22 + 72 : 20 + 22 + 72 + 64]
    last = 20 + (columns - 1) * 68
    truth = np.asarray(Image.fromarray(gradient).resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(first[:, last : last + 64].astype(int) - truth).max() <= 2
    assert not second[:, last : last + 64].any()
    assert tuple(first[24, 20 + 24]) == (255, 255, 255)  # the damage
