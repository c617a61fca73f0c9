"""What the server answers, and to whom it answers nothing."""

import http.client
import io
import json
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from repaint_batch.errors import NothingToResume
from repaint_batch.outputs.reviews import Reviews, redos
from repaint_batch.review.desk import Desk
from repaint_batch.review.server import ReviewServer
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from ..restored import restore_here
from .conftest import EVIL, here

Serve = Callable[[str], ReviewServer]
SESSION = str(uuid.uuid4())


def ask(server: ReviewServer, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, Any]:
    """Return status, body and headers of a request; decisions have the headers that a browser sends, unless told otherwise."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1])
    sent = {"Host": server.hosts[0]}
    if body is not None:
        sent |= {"Origin": f"http://{server.hosts[0]}", "Content-Type": "application/json"}
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent |= {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("GET" if body is None else "POST", path, body, {name: value for name, value in sent.items() if value})
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers
    connection.close()
    return found


def row(output: str, sample_id: str = "picture-0000") -> dict[str, Any]:
    return next(found for found in ResultsTable(output, Storage()).rows() if found["sample_id"] == sample_id)


def batch(output: str, sample_id: str = "picture-0000", number: int = 1, **decision: Any) -> dict[str, Any]:
    values = {"sample_id": sample_id, "output_sha256": row(output, sample_id)["output_sha256"], "verdict": "accept"}
    return {"session": SESSION, "number": number, "decisions": [{**values, **decision}]}


def verdicts(output: str) -> dict[str, str]:
    return {key[0]: decision.verdict for key, decision in Reviews(output, Storage()).latest().items()}


def test_nobody_without_the_token_gets_in(output: str, serve: Serve) -> None:
    server = serve(output)
    one = "0" * 64
    for path in (f"/wrong/before-piece/0,0,1,1,1/{one}/picture-0000", f"/facts/{one}/picture-0000", f"/wrong/mask/first/{one}/a"):
        assert ask(server, path)[0] == 404, path
    assert ask(server, f"/wrong/masks/{row(output)['output_sha256']}/picture-0000", b"", Content_Type="image/png")[0] == 404
    for path in ("/", "/rows", "/wrong/", f"/{server.token}x/", f"/{server.token}", f"/{server.token[:-1]}/rows", "/%2e/"):
        status, said, _ = ask(server, path)
        assert (status, server.token in said.decode()) == (404, False), path
    assert ask(server, "/wrong/decisions", batch(output))[0] == 404
    assert verdicts(output) == {}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 421),
        ({"Host": "evil.example:80", "Origin": "http://evil.example:80"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": ""}, 403),
        ({"Content_Type": "text/plain"}, 415),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415),
    ],
)
def test_other_pages_cannot_decide_even_with_the_token(
    output: str, serve: Serve, headers: dict[str, str], status: int
) -> None:
    server = serve(output)
    assert ask(server, f"/{server.token}/decisions", batch(output), **headers)[0] == status
    assert verdicts(output) == {}
    assert ask(server, f"/{server.token}/decisions", batch(output))[0] == 200
    assert verdicts(output) == {"picture-0000": "accept"}


def test_rebound_names_do_not_read_either(output: str, serve: Serve) -> None:
    server = serve(output)
    for path in ("", "rows", "before/0/picture-0000", "after-piece/0,0,1,1,1/0/a", "facts/0/a", "mask/first/0/a"):
        assert ask(server, f"/{server.token}/{path}", Host="evil.example")[0] == 421


def test_the_page_may_load_nothing_from_elsewhere(output: str, serve: Serve) -> None:
    server = serve(output)
    status, _, headers = ask(server, f"/{server.token}/")
    assert status == 200
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    assert (headers["Referrer-Policy"], headers["Cache-Control"]) == ("no-referrer", "no-store")


def test_pictures_are_small_ones_of_the_row(output: str, serve: Serve) -> None:
    server = serve(output)
    for sample_id in ("picture-0000", EVIL):
        digest = row(output, sample_id)["output_sha256"]
        for part, kind in (("before", "WEBP"), ("after", "WEBP"), ("hole", "PNG")):
            status, data, headers = ask(server, f"/{server.token}/{part}/{digest}/{quote(sample_id, safe='')}")
            assert (status, Image.open(io.BytesIO(data)).format) == (200, kind)
            assert headers["X-Content-Type-Options"] == "nosniff"
        assert ask(server, f"/{server.token}/after/{'0' * 64}/{quote(sample_id, safe='')}")[0] == 404
    for path in ("after", f"other/{digest}/picture-0000", f"after/{digest}/nobody", f"after/{digest}/"):
        assert ask(server, f"/{server.token}/{path}")[0] == 404, path


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "maybe"}, "decisions.0.verdict"),
        ({"colour": "red"}, "unknown key"),
        ({"verdict": "redo", "seed": "0", "preset": "draft"}, "are what made it; change one of them"),
        ({"verdict": "redo", "preset": "quick"}, "decisions.0.preset"),
        ({"verdict": "redo", "seed": str(2**63)}, "decisions.0.seed"),
        ({"sample_id": "picture-0006", "verdict": "redo"}, "nothing to redo"),
    ],
)
def test_what_cannot_be_decided_is_said(output: str, serve: Serve, change: dict[str, Any], words: str) -> None:
    server = serve(output)
    wanted = batch(output, change.pop("sample_id", "picture-0000"), **change)
    status, said, _ = ask(server, f"/{server.token}/decisions", wanted)
    assert (status, words in said.decode()) == (422, True), said
    assert verdicts(output) == {}


def test_bodies_that_are_no_decisions(output: str, serve: Serve) -> None:
    server = serve(output)
    where = f"/{server.token}/decisions"
    assert ask(server, where, b"{")[0] == 422
    assert ask(server, where, b"[]")[0] == 422
    assert ask(server, where, b"{}", Content_Length=str(2**30))[0] == 413
    assert ask(server, where, {**batch(output), "session": "../x"})[0] == 422


def test_a_decision_about_a_picture_that_is_gone_is_told_and_not_kept(output: str, serve: Serve) -> None:
    server = serve(output)
    old = batch(output, number=3)
    assert ask(server, f"/{server.token}/decisions", batch(output, number=1, verdict="redo", seed=str(2**62)))[0] == 200
    assert ask(server, f"/{server.token}/decisions", batch(output, number=1, verdict="redo", seed="5"))[0] == 200
    ((config, before),) = redos(output, Storage()).jobs
    restore_here(config.model_copy(update={"output": config.output.model_copy(update={"uri": output})}), retry_of=before.job_id)
    assert row(output)["seed"] == 2**62, "the second batch of that number was taken for the first, sent again"
    status, said, _ = ask(server, f"/{server.token}/decisions", old)
    assert (status, json.loads(said)) == (200, {"stale": ["picture-0000"]})
    assert ask(server, f"/{server.token}/decisions", batch(output, number=4))[0] == 200
    assert "picture-0000" in verdicts(output)
    assert redos(output, Storage()).jobs == []


def test_an_output_without_pictures_is_named(tmp_path: Any) -> None:
    with pytest.raises(NothingToResume, match="holds no pictures to review; `repaint-batch run` makes some"):
        Desk(str(tmp_path), Storage(), here)
