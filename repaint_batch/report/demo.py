"""The demo's page: damaged | restored | original, with the hole's PSNR, beside OpenCV's Telea where there is one."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from statistics import fmean

from PIL import Image, ImageDraw, ImageFont

from repaint_batch.report.pictures import data_uri, encoded, enlarged, read_rgba
from repaint_batch.report.progress import duration
from repaint_batch.report.render import render

SHOWN_PX = 192
"""Least length of a picture's longer side on the page, in its own pixels: sharp at 96 CSS pixels on a dense screen."""

KINDS = {
    "strokes": ("Strokes", "as if someone had drawn over the picture"),
    "boxes": ("Boxes", "a block of the picture is gone"),
    "halves": ("Halves", "one half is known, the other is invented"),
}
"""Mask kinds in the order of the page, with title and explanation; others follow under their own name."""


@dataclass(frozen=True)
class DemoCard:
    """One picture of the demo.

    Attributes:
        sample_id: its name.
        kind: of its mask: strokes, boxes, halves or another word.
        damaged: encoded picture; transparent parts are shown hatched.
        restored: encoded picture.
        original: encoded picture.
        telea: OpenCV's restoration, encoded; None without OpenCV.
        psnr_db: PSNR of the restored pixels of the hole, in decibels.
        telea_psnr_db: the same of Telea's; None without OpenCV.
        mask: encoded mask, white where the hole is; makes that part of `damaged` transparent.
    """

    sample_id: str
    kind: str
    damaged: bytes
    restored: bytes
    original: bytes
    telea: bytes | None
    psnr_db: float
    telea_psnr_db: float | None
    mask: bytes | None = None


@dataclass(frozen=True)
class DemoSummary:
    """What the demo's job cost.

    Attributes:
        seconds: from start to the last picture.
        nfe: network evaluations a picture took.
        preset: name of the sampler's preset.
        prior: name of the prior.
        where: results table or folder, for the foot of the page; empty to leave it out.
    """

    seconds: float
    nfe: int
    preset: str
    prior: str
    where: str = ""


@dataclass(frozen=True)
class _Group:
    title: str
    explanation: str
    cards: list["_ShownCard"]
    psnr_db: float
    telea_psnr_db: float | None
    wins: int


@dataclass(frozen=True)
class _ShownCard:
    card: DemoCard
    figures: list[tuple[str, str, float | None]]  # (label, data URI, dB)


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
    compared = [card.telea_psnr_db for card in cards if card.telea_psnr_db is not None]
    return render(
        "demo.html.j2",
        groups=[_group(kind, list(members)) for kind, members in groupby(_ordered(cards), lambda card: card.kind)],
        pictures=len(cards),
        psnr_db=fmean(card.psnr_db for card in cards),
        telea_psnr_db=fmean(compared) if compared else None,
        wins=_wins(cards),
        time=duration(summary.seconds),
        each_s=summary.seconds / len(cards),
        summary=summary,
    )


def contact_sheet(
    cards: Sequence[DemoCard], *, across: int = 4, picture_px: int = 96, telea: bool = False
) -> Image.Image:
    """Return one picture of all cards: damaged | restored | original (with `telea`, Telea's after the damaged one).

    Args:
        cards: in the order in which they are drawn, row by row.
        across: cards in a row.
        picture_px: side of each picture.
        telea: show OpenCV's restoration as well, where a card has it.
    """
    telea = telea and any(card.telea is not None for card in cards)
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
        pictures = [_damaged(card), read_rgba(card.restored), read_rgba(card.original)]
        if telea:
            pictures.insert(1, pictures[0] if card.telea is None else read_rgba(card.telea))
        for place, picture in enumerate(pictures):
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
    return sum(card.telea_psnr_db is not None and card.psnr_db > card.telea_psnr_db for card in cards)


def _group(kind: str, cards: list[DemoCard]) -> _Group:
    title, explanation = KINDS.get(kind, (kind, ""))
    compared = [card.telea_psnr_db for card in cards if card.telea_psnr_db is not None]
    return _Group(
        title=title,
        explanation=explanation,
        cards=[_shown(card) for card in cards],
        psnr_db=fmean(card.psnr_db for card in cards),
        telea_psnr_db=fmean(compared) if compared else None,
        wins=_wins(cards),
    )


def _shown(card: DemoCard) -> _ShownCard:
    figures: list[tuple[str, str, float | None]] = [("Damaged", _page_picture(_damaged(card)), None)]
    if card.telea is not None:
        figures.append(("Telea", _page_picture(read_rgba(card.telea)), card.telea_psnr_db))
    figures.append(("Restored", _page_picture(read_rgba(card.restored)), card.psnr_db))
    figures.append(("Original", _page_picture(read_rgba(card.original)), None))
    return _ShownCard(card, figures)


def _damaged(card: DemoCard) -> Image.Image:
    picture = read_rgba(card.damaged)
    if card.mask is not None:
        hole = read_rgba(card.mask).convert("L")
        picture.putalpha(hole.point(lambda white: 0 if white > 127 else 255))
    return picture


def _page_picture(picture: Image.Image) -> str:
    large = enlarged(picture, SHOWN_PX)
    large.thumbnail((2 * SHOWN_PX, 2 * SHOWN_PX), Image.Resampling.LANCZOS)
    return data_uri(encoded(large, "WEBP", quality=90, alpha_quality=100, method=4), "image/webp")
