"""Commands over an output, and pictures, whose names have a space, %, #, ?, :: and accents."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from repaint_batch.cli import run
from repaint_batch.errors import ConfigError
from repaint_batch.manifest import open_manifest
from repaint_batch.outputs.dead_letters import retry_configs
from repaint_batch.outputs.reviews import Decision, Reviews
from repaint_batch.outputs.verify import verify
from repaint_batch.table.results import ResultsTable
from repaint_batch.uris import delta_uri, join, normalise

from ..conftest import Place
from ..corpus import encoded, hole, job, picture
from ..restored import restore_here

OUTPUT = "My results 100% #1 é"
NAMES = ["a b", "100%", "a#1", "a?b", "a::b", "é", "e\u0301", ".hidden", "photo:1", "a.png"]


def put(place: Place, names: list[str]) -> None:
    for number, name in enumerate(names):
        place.storage.write(join(place.uri, "pictures #?", f"{name}.png"), encoded(picture(number)))
        place.storage.write(join(place.uri, "masks", f"{name}_m.png"), encoded(hole(number)))


@pytest.mark.parametrize(
    ("where", "with_ray"),
    [("local", False), ("s3", False), *(pytest.param(where, True, marks=pytest.mark.slow) for where in ("local", "s3"))],
)
def test_commands(
    where: str,
    with_ray: bool,
    request: pytest.FixtureRequest,
    tiny_prior: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place: Place = request.getfixturevalue(f"{where}_place")
    if with_ray:
        request.getfixturevalue("ray_cluster")
    if place.config.endpoint_url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", place.config.endpoint_url)
    pictures, masks, target, output = (
        join(place.uri, name) for name in ("pictures #?", "masks", "pictures #?/late.parquet", OUTPUT)
    )

    def does(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        assert run(list(arguments)) == code, capsys.readouterr()
        return " ".join(capsys.readouterr().out.split())

    # No S3 service hands out names with a line break as it took them.
    names = [name.replace("photo:1", "new\nline") if where == "local" else name for name in NAMES]
    put(place, names)
    folders = ("--images", pictures, "--masks", masks, "--pattern", "{stem}_m")
    assert "10 rows in" in does("manifest", "build", *folders, "--to", target)
    late = join(pictures, "a#1.png")
    data = place.storage.read(late)
    place.storage.delete(late)  # so that there is something to retry
    config = job(place, target, tiny_prior, OUTPUT, output={"images": "files"}, storage={"allow": [masks]})
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    said = does("check", str(path), "--all", "--contact-sheet", str(tmp_path / "sheet.png"), code=3)
    assert "10 rows in 1 files" in said
    assert "1 would fail" in said
    if with_ray:
        assert "holds 9 ok, 0 skipped, 1 failed" in does("run", str(path), code=3)
    else:
        restore_here(config)
    assert "holds 9 ok, 0 skipped, 1 failed" in does("run", str(path), code=3)
    assert "9 ok, 0 skipped, 1 failed" in does("run", output, code=3)
    assert "1 failed, 0 missing of 10 rows" in does("status", output, code=3)
    dead = join(place.uri, "dead #.parquet")
    does("export", output, "--failed", "--to", dead)
    assert open_manifest(dead, place.storage).rows == 1
    place.storage.write(late, data)
    if with_ray:
        assert "holds 10 ok, 0 skipped, 0 failed" in does("retry-failed", output)
    else:
        for again, before in retry_configs(output, place.storage):
            restore_here(again, retry_of=before.job_id)
    assert "10 ok, 0 skipped, 0 failed, 0 missing of 10 rows" in does("status", output)
    assert "no problems" in does("verify", output)
    for way in ("folder", "parquet", "webdataset"):
        assert "10 pictures" in does("export", output, "--to", join(place.uri, f"export é # {way}"), "--format", way, "--masks")
    found = {uri.rpartition("/")[2] for uri, _ in place.storage.list(join(place.uri, "export é # folder"))}
    assert {"a b.png", "a#1.png", "a#1.png.mask.png", "é.png", ".hidden.png"} <= found
    assert does("report", output)
    said = does("history", output)
    version = ResultsTable(output, place.storage).open().version()
    assert said.count("job ") == 2
    assert "created" in said
    review(output, place)
    assert "1 pictures" in does("export", output, "--to", join(place.uri, "accepted"), "--accepted")
    assert "9 ok, 0 skipped, 1 failed" in does("rollback", output, "--to", str(version - 1))
    assert "10 ok, 0 skipped, 0 failed" in does("rollback", output, "--to", str(version))
    does("clean", output)
    assert verify(output, place.storage).exit_code == 0
    if with_ray:
        nights(does, place, tiny_prior, tmp_path)


def nights(does: Callable[..., str], place: Place, prior: str, tmp_path: Path) -> None:
    """Restore the same corpus in a night, and find nothing to do in the next."""
    values: dict[str, Any] = {
        "corpus": {"images": join(place.uri, "pictures #?"), "masks": join(place.uri, "masks"), "pattern": "{stem}_m"},
        "output": {"uri": join(place.uri, f"Nights {OUTPUT}"), "images": "files"},
        "prior": {"source": prior},
        "sampler": {"preset": "draft"},
        "compute": {"batch_windows": 4, "num_gpus": 0},
        "storage": place.config.model_dump(),
    }
    path = tmp_path / "night.yaml"
    path.write_text(yaml.safe_dump(values))
    assert "ran: 10 ok, 0 skipped, 0 failed" in does("night", str(path))
    assert "to run: nothing; not to run: 10" in does("night", str(path))
    assert verify(values["output"]["uri"], place.storage).exit_code == 0


def review(output: str, place: Place) -> None:
    row = next(row for row in ResultsTable(output, place.storage).rows() if row["sample_id"] == "a#1.png")
    Reviews(output, place.storage).record("0" * 16, 1, [Decision("a#1.png", row["output_sha256"], row["attempt"], "accept")])


@pytest.mark.parametrize("path", ["/x/a\nb", "/x/%20", "/x/[a]", "/x/a|b", "s3://b/x//y", "s3://b/%41", "s3://b/a\tb"])
def test_an_output_where_no_table_can_be_is_refused_before_anything_runs(path: str) -> None:
    with pytest.raises(ConfigError, match=r"a Delta table cannot be kept in a folder with .* in its path; choose another"):
        delta_uri(normalise(path))
