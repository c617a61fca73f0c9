"""Whoever opens a restored picture can read which part of it is synthetic; its pixels and other metadata stay as they were."""

import re

import numpy as np
import pytest

from repaint_batch.config import ImagesConfig
from repaint_batch.images.provenance import Provenance, extended
from repaint_batch.images.restoration import compose, prepare

from .judge import seen
from .odd_files import HOLE, MAKERS, Chosen
from .test_odd_files import RESOLUTION, mask

MADE_BY = Provenance("p" * 16, "s" * 16, "j" * 16, "a/<b> & c", 7)
CONFIG = ImagesConfig()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("before", ["none", "plain"])
@pytest.mark.parametrize("kind", ["tiff", "png", "jpeg", "webp", "gif", "modern"])
def test_a_picture_says_what_is_synthetic(kind: str, before: str) -> None:
    colours = {"png": 2, "gif": 16}.get(kind, "grey")
    given = {"xmp": (before == "plain") if kind == "gif" else before, "colours": colours, "kind": "JXL"}
    odd = MAKERS[kind](Chosen(given))
    windows = np.full((len(prepare(odd.data, mask(), CONFIG, RESOLUTION).plan), RESOLUTION, RESOLUTION, 3), 0.37, np.float32)
    plain = compose(odd.data, mask(), windows, CONFIG, RESOLUTION, "source")
    said = compose(odd.data, mask(), windows, CONFIG, RESOLUTION, "source", MADE_BY)
    assert said.dropped == plain.dropped
    assert (seen(plain.data, odd.kind) == seen(said.data, odd.kind)).all()
    packet = re.search(rb"<x:xmpmeta.*</x:xmpmeta>", said.data, re.DOTALL)
    assert packet
    text = packet[0].decode()
    assert text.count("<x:xmpmeta") == 1
    assert ("Grüße" in text) == (before == "plain" and kind != "modern")
    left, top, right, bottom = HOLE
    for name, value in {"rbX": left, "rbY": top, "rbW": right - left, "rbH": bottom - top}.items():
        assert f'Iptc4xmpExt:{name}="{value}"' in text
    assert "compositeWithTrainedAlgorithmicMedia" in text
    assert "<repaint:sample>a/&lt;b&gt; &amp; c</repaint:sample>" in text


def test_a_bmp_has_no_place_for_it_and_says_so() -> None:
    odd = MAKERS["bmp"](Chosen({"bits": 24}))
    windows = np.zeros((len(prepare(odd.data, mask(), CONFIG, RESOLUTION).plan), RESOLUTION, RESOLUTION, 3), np.float32)
    done = compose(odd.data, mask(), windows, CONFIG, RESOLUTION, "source", MADE_BY)
    assert done.dropped == ("provenance (BMP of this kind holds no XMP)",)


def test_a_packet_that_is_none_is_left_alone() -> None:
    assert extended(b"no packet at all", MADE_BY, [HOLE]) is None


def test_what_another_tool_said_of_the_whole_picture_stays_said_once() -> None:
    inner = b'<rdf:RDF xmlns:rdf="r"><rdf:Description a:DigitalSourceType="x"/></rdf:RDF>'
    packet = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + inner + b"</x:xmpmeta>"
    found = extended(packet, MADE_BY, [HOLE] * 200)
    assert found is not None
    assert found.count(b"DigitalSourceType") == 1
    assert found.count(b"RegionBoundary") == 1
