"""The demo's page: damaged | Telea | restored | original, with PSNR and SSIM in the hole."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

from PIL import Image, ImageDraw, ImageFont

from repaint_batch.report.embedding import data_uri, encoded, enlarged, read_rgba
from repaint_batch.report.progress import duration
from repaint_batch.report.render import render

SHOWN_PX = 192
"""Least length of a picture's longer side on the page, in its own pixels: sharp at 96 CSS pixels on a dense screen."""

KINDS = {
    "scratches": ("Scratches", "light and dark, some branch"),
    "dust": ("Dust", "specks and hairs"),
    "crease": ("Crease", "from edge to edge, with flakes"),
    "stain": ("Stain", "what it covers is gone"),
    "stamp": ("Date stamp", "burnt in by the camera"),
    "writing": ("Handwriting", "ink across the picture"),
    "torn": ("Torn corner", "a piece is missing"),
    "object": ("Object", "something lies on the print"),
}
"""Kinds of damage in the order of the page, with title and explanation; others follow under their own name."""


@dataclass(frozen=True)
class DemoCard:
    """One picture of the demo.

    Attributes:
        sample_id: its name.
        kind: of its damage: scratches, dust, or another word.
        damaged: encoded picture.
        restored: encoded picture.
        original: encoded picture.
        telea: OpenCV's restoration, encoded.
        psnr_db: PSNR of the restored pixels of the hole, in decibels.
        telea_psnr_db: the same of Telea's.
        ssim: structural similarity in the hole.
        telea_ssim: the same of Telea's.
        credit: whose photograph it is.
    """

    sample_id: str
    kind: str
    damaged: bytes
    restored: bytes
    original: bytes
    telea: bytes
    psnr_db: float
    telea_psnr_db: float
    ssim: float
    telea_ssim: float
    credit: str


@dataclass(frozen=True)
class DemoSummary:
    """What the demo's job cost.

    Attributes:
        seconds: from start to the last picture.
        nfe: network evaluations a window took.
        windows: windows of all pictures.
        preset: name of the sampler's preset.
        prior: name of the prior.
        where: results table or folder, for the foot of the page; empty to leave it out.
    """

    seconds: float
    nfe: int
    windows: int
    preset: str
    prior: str
    where: str = ""


@dataclass(frozen=True)
class _Group:
    title: str
    explanation: str
    cards: list["_ShownCard"]
    psnr_db: float
    telea_psnr_db: float
    ssim: float
    telea_ssim: float
    wins: int


@dataclass(frozen=True)
class _Figure:
    label: str
    uri: str
    psnr_db: float | None = None
    ssim: float | None = None


@dataclass(frozen=True)
class _ShownCard:
    card: DemoCard
    figures: list[_Figure]


def write_demo_report(path: str | Path, cards: Sequence[DemoCard], summary: DemoSummary) -> None:
    """Write the demo's page to `path`: one HTML file that needs nothing else.

    Raises:
        ValueError: there are no cards.
    """
    Path(path).write_text(demo_html(cards, summary), encoding="utf-8")


def demo_html(cards: Sequence[DemoCard], summary: DemoSummary) -> str:
    """Return the demo's page."""
    if not cards:
        raise ValueError("a demo page needs at least one picture")
    return render(
        "demo.html.j2",
        groups=[_group(kind, list(members)) for kind, members in groupby(_ordered(cards), lambda card: card.kind)],
        pictures=len(cards),
        psnr_db=fmean(card.psnr_db for card in cards),
        telea_psnr_db=fmean(card.telea_psnr_db for card in cards),
        ssim=fmean(card.ssim for card in cards),
        telea_ssim=fmean(card.telea_ssim for card in cards),
        wins=_wins(cards),
        credits=sorted({card.credit for card in cards}),
        time=duration(summary.seconds),
        each_s=summary.seconds / len(cards),
        summary=summary,
    )


def contact_sheet(
    cards: Sequence[DemoCard], *, across: int = 3, picture_px: int = 128, telea: bool = False
) -> Image.Image:
    """Return one picture of all cards: damaged | restored | original (with `telea`, Telea's after the damaged one).

    Args:
        cards: in the order in which they are drawn, row by row.
        across: cards in a row.
        picture_px: side of each picture.
        telea: show OpenCV's restoration as well.
    """
    labels = ["damaged", *(["Telea"] if telea else []), "restored", "original"]
    gap, between, margin, head = 4, 22, 20, 22
    card_w = len(labels) * picture_px + (len(labels) - 1) * gap
    across = min(across, len(cards))
    rows = -(-len(cards) // across)
    width = 2 * margin + across * card_w + (across - 1) * between
    height = 2 * margin + head + rows * picture_px + (rows - 1) * gap * 2
    sheet = Image.new("RGB", (width, height), (255, 255, 255))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for column in range(across):
        for place, label in enumerate(labels):
            x = margin + column * (card_w + between) + place * (picture_px + gap) + picture_px // 2
            draw.text((x, margin + 4), label, fill=(90, 96, 104), font=font, anchor="mm")
    for number, card in enumerate(cards):
        row, column = divmod(number, across)
        shown = [card.damaged, *([card.telea] if telea else []), card.restored, card.original]
        for place, picture in enumerate(map(read_rgba, shown)):
            x = margin + column * (card_w + between) + place * (picture_px + gap)
            tile = _tile(picture, picture_px)
            offset = (picture_px - tile.width) // 2, (picture_px - tile.height) // 2
            sheet.paste(tile, (x + offset[0], margin + head + row * (picture_px + 2 * gap) + offset[1]))
    return sheet


def _tile(picture: Image.Image, picture_px: int) -> Image.Image:
    large = enlarged(picture, picture_px)
    flat = Image.new("RGB", large.size, (214, 218, 224))
    flat.paste(large, mask=large.getchannel("A"))
    flat.thumbnail((picture_px, picture_px), Image.Resampling.LANCZOS)
    return flat


def _ordered(cards: Sequence[DemoCard]) -> list[DemoCard]:
    order = list(KINDS)
    return sorted(cards, key=lambda card: (order.index(card.kind) if card.kind in order else len(order), card.kind))


def _wins(cards: Sequence[DemoCard]) -> int:
    return sum(card.psnr_db > card.telea_psnr_db for card in cards)


def _group(kind: str, cards: Sequence[DemoCard]) -> _Group:
    title, explanation = KINDS.get(kind, (kind, ""))
    return _Group(
        title=title,
        explanation=explanation,
        cards=[_shown(card) for card in cards],
        psnr_db=fmean(card.psnr_db for card in cards),
        telea_psnr_db=fmean(card.telea_psnr_db for card in cards),
        ssim=fmean(card.ssim for card in cards),
        telea_ssim=fmean(card.telea_ssim for card in cards),
        wins=_wins(cards),
    )


def _shown(card: DemoCard) -> _ShownCard:
    return _ShownCard(
        card,
        [
            _Figure("Damaged", _page_picture(card.damaged)),
            _Figure("Telea", _page_picture(card.telea), card.telea_psnr_db, card.telea_ssim),
            _Figure("Restored", _page_picture(card.restored), card.psnr_db, card.ssim),
            _Figure("Original", _page_picture(card.original)),
        ],
    )


def _page_picture(data: bytes) -> str:
    large = enlarged(read_rgba(data), SHOWN_PX)
    large.thumbnail((2 * SHOWN_PX, 2 * SHOWN_PX), Image.Resampling.LANCZOS)
    return data_uri(encoded(large, "WEBP", quality=90, alpha_quality=100, method=4), "image/webp")
