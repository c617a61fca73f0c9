"""Nights on real stores: exactly what differs runs, and the way back serves the earlier bytes."""

import http.server
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DModel

from repaint_batch.errors import ConfigError, LeaseHeld
from repaint_batch.jobs.lease import NIGHT_LEASE, Lease
from repaint_batch.jobs.plan import load_plans
from repaint_batch.nights.config import NightConfig
from repaint_batch.nights.night import NightSummary, inert, run_night
from repaint_batch.outputs.history import read_history, rollback
from repaint_batch.outputs.status import read_status
from repaint_batch.outputs.verify import verify
from repaint_batch.table.results import ResultsTable

from ..conftest import Place
from ..corpus import encoded, hole, picture
from ..pipeline.conftest import Recorder

pytestmark = pytest.mark.usefixtures("ray_cluster")


def put(place: Place, *numbers: int, seed: int = 0) -> None:
    """Write pictures and their masks; another seed is another picture."""
    storage = place.storage
    for number in numbers:
        storage.write(f"{place.uri}/pictures/{number:04d}.png", encoded(picture(number + 1000 * seed)))
        storage.write(f"{place.uri}/masks/{number:04d}.png", encoded(hole(number)))


def nights(place: Place, prior: str, **sections: Any) -> NightConfig:
    values: dict[str, Any] = {
        "corpus": {"images": f"{place.uri}/pictures", "masks": f"{place.uri}/masks"},
        "output": {"uri": f"{place.uri}/out", "images": "files"},
        "prior": {"source": prior},
        "sampler": {"preset": "draft"},
        "compute": {"shard_rows": 20, "batch_windows": 20, "actors": 1},
        "storage": place.config.model_dump(),
    }
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    return NightConfig.model_validate(values)


def served(config: NightConfig, place: Place) -> dict[str, str]:
    """Return the hash of what readers get, by sample; every file is there."""
    rows = ResultsTable(config.output.uri, place.storage).rows(("sample_id", "output_sha256", "output_uri"))
    found = {row["sample_id"]: (row["output_sha256"], row["output_uri"]) for row in rows}
    present = {uri for uri, _ in place.storage.list(f"{config.output.uri}/images")}
    assert {uri for _, uri in found.values()} <= present
    return {sample_id: sha256 for sample_id, (sha256, _) in found.items()}


def other_prior(folder: Path, like: str) -> str:
    """Return a copy of a prior with other weights."""
    network = UNet2DModel.from_pretrained(like, subfolder="unet")
    with torch.no_grad():
        next(network.parameters()).add_(0.05)
    network.save_pretrained(folder / "unet")
    (folder / "scheduler").mkdir()
    for file in Path(like, "scheduler").iterdir():
        (folder / "scheduler" / file.name).write_bytes(file.read_bytes())
    return str(folder)


def test_three_nights_and_a_bad_prior(s3_place: Place, tiny_prior: str, recorder: Recorder, tmp_path: Path) -> None:
    config = nights(s3_place, tiny_prior)
    put(s3_place, *range(12))
    first = run_night(config, recorder)
    assert (first.listed, first.ran, first.rows["ok"]) == (12, {"new": 12}, 12)
    risks = {row["sample_id"]: round(row["risk"], 3) for row in ResultsTable(config.output.uri, s3_place.storage).rows()}
    assert [row["risk"] for row in first.worst] == sorted(risks.values(), reverse=True)[:10]
    assert all(risks[row["sample_id"]] == row["risk"] for row in first.worst)

    put(s3_place, *range(12, 15))
    put(s3_place, 5, 8, 11, seed=1)
    for number in (3, 7):
        s3_place.storage.delete(f"{s3_place.uri}/pictures/{number:04d}.png")
    before = served(config, s3_place)
    second = run_night(config, recorder)
    assert (second.ran, second.skipped) == ({"new": 3, "changed": 3}, {"unchanged": 7})
    assert (sum(second.rows.values()), second.rows["ok"], second.removed, second.unpaired_masks) == (6, 6, 2, 2)
    good = served(config, s3_place)
    assert len(good) == 13
    assert {name for name in before.keys() & good.keys() if before[name] != good[name]} == {
        f"{number:04d}.png" for number in (5, 8, 11)
    }

    cluster_jobs = len(recorder.plans)
    third = run_night(config, recorder)
    assert (third.ran, third.skipped, third.jobs, third.nfe) == ({}, {"unchanged": 13}, [], 0)
    assert len(recorder.plans) == cluster_jobs
    assert third.version == third.version_before == second.version

    bad = nights(s3_place, other_prior(tmp_path / "bad", tiny_prior))
    fourth = run_night(bad, recorder)
    assert (fourth.ran, fourth.rows["ok"]) == ({"new prior": 13}, 13)
    worse = served(config, s3_place)
    assert not {name for name in good if good[name] == worse[name]}

    assert fourth.version_before is not None
    rollback(config.output.uri, fourth.version_before, s3_place.storage)
    assert served(config, s3_place) == good
    assert run_night(config, recorder).ran == {}, "with the good prior asked for again there is nothing to do"
    assert read_status(config.output.uri, s3_place.storage).exit_code == 0


@pytest.fixture
def small(local_place: Place, tiny_prior: str) -> Callable[..., NightConfig]:
    put(local_place, *range(4))
    return lambda **sections: nights(local_place, tiny_prior, **sections)


def test_what_was_only_touched_is_not_run(local_place: Place, small: Callable[..., NightConfig], recorder: Recorder) -> None:
    config = small(compute={"precision": "bfloat16"}, sampler={"candidates": 3})
    run_night(config, recorder)
    kept = {row["seed"] for row in ResultsTable(config.output.uri, local_place.storage).rows(("seed",))}
    assert kept - {0}, "otherwise the first candidate has always won"
    put(local_place, 1, 2, 3)  # the same bytes, at another time
    again = run_night(config, recorder)
    assert (again.ran, again.skipped) == ({}, {"touched": 3, "unchanged": 1})
    assert run_night(config, recorder).skipped == {"unchanged": 4}, "it is remembered"


def test_a_row_that_fails_is_left_alone_in_the_end(
    local_place: Place, small: Callable[..., NightConfig], recorder: Recorder
) -> None:
    local_place.storage.write(f"{local_place.uri}/pictures/0002.png", b"broken")
    config = small(night={"tries": 2, "most_failed": 0.2})
    first = run_night(config, recorder)
    assert (first.rows, first.failures) == ({"ok": 3, "skipped": 0, "failed": 1}, {"ImageInvalid": 1})
    assert first.named == {"ImageInvalid": ["0002.png"]}
    assert first.exit_code == 3, "a quarter failed, a fifth may"
    assert run_night(config, recorder).ran == {"failed before": 1}
    last = run_night(config, recorder)
    assert last.skipped == {"unchanged": 3, "quarantined": 1}
    assert last.named == {"failed too often": ["0002.png"]}
    assert last.left_out is not None
    assert local_place.storage.read(last.left_out).decode().splitlines() == ["why,name", "failed too often,0002.png"]
    put(local_place, 2)
    mended = run_night(config, recorder)
    assert (mended.ran, mended.exit_code) == ({"changed": 1}, 0)
    assert verify(config.output.uri, local_place.storage).exit_code == 0


def test_a_deadline_ends_a_night_and_the_next_goes_on(
    local_place: Place, small: Callable[..., NightConfig], recorder: Recorder
) -> None:
    hasty = small(night={"hours": 1e-7})
    first = run_night(hasty, recorder)
    assert (first.ended, first.exit_code) == ("deadline", 0)
    assert read_status(hasty.output.uri, local_place.storage).missing == 4 - sum(first.rows.values())
    left = 4 - sum(first.rows.values())
    second = run_night(small(), recorder)
    assert (second.ended, second.jobs, second.ran) == ("done", first.jobs, {"left over": left})
    assert second.version_before in {change.last for change in read_history(second.output, local_place.storage)}
    assert read_status(hasty.output.uri, local_place.storage).exit_code == 0


@pytest.mark.slow
def test_what_is_no_longer_asked_for_is_given_up(
    local_place: Place, small: Callable[..., NightConfig], recorder: Recorder
) -> None:
    first = run_night(small(night={"hours": 1e-7}), recorder)
    second = run_night(small(sampler={"seed": 3}), recorder)
    assert (second.withdrawn, second.rows["ok"]) == (first.jobs, 4)
    assert [plan.job_id for plan in load_plans(second.output, local_place.storage)] == second.jobs
    assert read_status(second.output, local_place.storage).exit_code == 0


@pytest.mark.slow
def test_superseded_files_go_when_their_time_is_up(
    local_place: Place, small: Callable[..., NightConfig], recorder: Recorder
) -> None:
    config = small(night={"keep_days": 1e-9})
    run_night(config, recorder)
    put(local_place, 0, seed=1)
    second = run_night(config, recorder)
    whole = {change.last: change.is_whole for change in read_history(second.output, local_place.storage)}
    assert second.version_before is not None
    assert second.version_before not in whole
    assert whole[max(whole)]
    with pytest.raises(ConfigError, match="has no such version"):
        rollback(second.output, second.version_before, local_place.storage)
    kept = small()
    put(local_place, 0, seed=2)
    third = run_night(kept, recorder)
    assert third.version_before is not None
    rollback(third.output, third.version_before, local_place.storage)


def test_a_wrong_prefix_removes_nothing(local_place: Place, small: Callable[..., NightConfig], recorder: Recorder) -> None:
    config = small()
    run_night(config, recorder)
    for number in range(3):
        Path(local_place.uri, "pictures", f"{number:04d}.png").unlink()
    with pytest.raises(ConfigError, match=r"3 of the 4 rows in .* have no picture and mask there any more"):
        run_night(config, recorder)
    assert ResultsTable(config.output.uri, local_place.storage).counts()["ok"] == 4
    (told,) = [s for s in summaries(local_place, config) if s["ended"] == "error"]
    assert "3 of the 4 rows" in told["error"]
    assert run_night(small(night={"most_removed": 1}), recorder).removed == 3
    assert verify(config.output.uri, local_place.storage).exit_code == 0


def summaries(place: Place, config: NightConfig) -> list[dict[str, Any]]:
    found = [uri for uri, _ in place.storage.list(f"{config.output.uri}/nights") if uri.endswith("summary.json")]
    return [json.loads(place.storage.read(uri)) for uri in found]


def test_a_night_in_which_no_mask_has_a_hole_is_no_success(
    local_place: Place, small: Callable[..., NightConfig], recorder: Recorder
) -> None:
    for number in range(4):
        local_place.storage.write(f"{local_place.uri}/masks/{number:04d}.png", encoded(hole(number) * 0))
    done = run_night(small(), recorder)
    assert (done.rows, done.exit_code) == ({"ok": 0, "skipped": 4, "failed": 0}, 3)
    assert done.error == (
        "nothing was restored: no mask has a hole, with images.hole white; `repaint-batch check` shows why"
    )


def test_one_night_at_a_time(local_place: Place, small: Callable[..., NightConfig], recorder: Recorder) -> None:
    config = small()
    with Lease(config.output.uri, NIGHT_LEASE, local_place.storage, ttl_s=2, renewal_s=0.2), pytest.raises(LeaseHeld):
        run_night(config, recorder)


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A webhook: its address, and what was posted to it."""
    posted: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/night", posted
    server.shutdown()
    server.server_close()


def test_the_summary_is_posted(
    local_place: Place, small: Callable[..., NightConfig], recorder: Recorder, inbox: tuple[str, list[dict[str, Any]]]
) -> None:
    url, posted = inbox
    config = small(night={"webhook": url}, compute={"price_per_gpu_hour": 3600})
    done = run_night(config, recorder, lambda output, storage: f"{output}/report.html")
    assert posted == summaries(local_place, config)
    (told,) = posted
    assert NightSummary(**told) == done
    assert told["report"] == f"{config.output.uri}/report.html"
    assert (told["rows"]["ok"], told["nfe"], told["windows"]) == (4, 4 * 30, 4)
    assert told["cost"] == pytest.approx(told["actor_hours"] * 3600, rel=1e-2)


@pytest.mark.parametrize("name", ['=HYPERLINK("http://h")', "+1", "-1", "@x", "\t=1"])
def test_names_are_no_formulas_where_a_list_is_opened(name: str) -> None:
    assert inert(name) == f"'{name}"
    assert inert(f"a{name}") == f"a{name}"
