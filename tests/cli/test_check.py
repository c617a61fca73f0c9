"""`check` before a job and `export` after it, as a person meets them."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from PIL import Image

from repaint_batch.cli.check import check
from repaint_batch.cli.export import export
from repaint_batch.cli.jobs import run as run_job
from repaint_batch.config import JobConfig, StorageConfig, load_config
from repaint_batch.errors import ConfigError, ManifestError
from repaint_batch.outputs.writing import check_writable
from repaint_batch.sampler.presets import PRESETS
from repaint_batch.storage import Storage

from ..conftest import Place
from ..corpus import job, rows, save_tiny_prior, write_manifest
from ..damage.torn import torn
from ..outputs.test_export import kept, output
from ..restored import restore_here

app = typer.Typer()
app.command()(check)
app.command()(export)
app.command("run")(run_job)


def config_of(tmp_path: Path, corpus: list[dict[str, Any]], **sections: Any) -> str:
    place = Place(str(tmp_path), StorageConfig())
    config = job(place, write_manifest(place, corpus), save_tiny_prior(tmp_path / "prior"), **sections)
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_none=True)))
    return str(path)


def run(*arguments: str) -> int:
    code = app(list(arguments), standalone_mode=False)
    return code if isinstance(code, int) else 0


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_a_check_says_what_is_wrong_and_what_it_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = rows(4)
    corpus[1]["image"] = {"bytes": b"broken", "path": None}
    config, sheet = config_of(tmp_path, corpus, compute={"price_per_gpu_hour": 10.0, "actors": 1}), tmp_path / "sheet.png"
    assert run("check", config, "--all", "--seconds-per-window", "1200", "--contact-sheet", str(sheet)) == 3
    said = printed(capsys)
    assert "manifest" in said
    assert "4 rows in 1 files shards 1 of 4 rows" in said
    assert "all 4 rows looked at: 3 can be restored, 1 would fail" in said
    assert "unreadable picture: 1 of 4" in said
    assert f"network evaluations {3 * PRESETS['draft'].nfe} (draft)" in said
    # Three windows take as long as the four that a call has slots for.
    assert f"network calls {PRESETS['draft'].nfe}, 75% of their slots in use" in said
    assert "actor-hours 1.3 at 160 s per call of 4" in said
    assert "money 13.33 at 10 per hour" in said
    with Image.open(sheet) as image:
        assert image.width > 300
    assert not (tmp_path / "out").exists(), "checking writes nothing to the output"

    assert run("check", config, "--all", "--json", "--set", "sampler.preset=preview") == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["rows"], told["rows_that_would_fail"], told["kinds"]) == (4, 1, {"unreadable picture": 1})
    assert told["network_evaluations"] == 3 * PRESETS["preview"].nfe


def test_a_check_says_how_many_pictures_would_be_marked_and_what_the_search_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = rows(3)
    for number in range(3):
        image = {"bytes": torn(number, is_torn=number == 1), "path": None}
        corpus[number] |= {"image": image, "mask": {"bytes": None, "path": None}}
    config = config_of(tmp_path, corpus, images={"masks": {"find": ["edges"]}})
    assert run("check", config) == 0
    said = printed(capsys)
    assert "damage (edges) found in 1 of 3 pictures that were searched; the others would pass through unchanged" in said
    assert "s of a core a picture" in said
    assert run("check", config, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["pictures_searched"], told["pictures_with_damage"]) == (3, 1)
    assert told["search_core_hours"] > 0


def test_over_budget_and_all_bad_are_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path, rows(2), compute={"price_per_gpu_hour": 10.0, "budget": 1.0})
    assert run("check", config, "--images-per-second", "2") == 0
    with pytest.raises(ConfigError, match=r"more than compute.budget = 1.00"):
        run("check", config, "--images-per-second", "0.001")
    with pytest.raises(ConfigError, match="give one of"):
        run("check", config, "--images-per-second", "1", "--probe")
    corpus = [{**row, "image": {"bytes": b"broken", "path": None}} for row in rows(2)]
    with pytest.raises(ManifestError, match="all of the 2 rows that were looked at would fail: unreadable picture"):
        run("check", config_of(tmp_path, corpus))


def test_check_says_what_run_would_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = rows(3)
    corpus[1]["image"] = {"bytes": b"broken", "path": None}
    path = config_of(tmp_path, corpus)
    restore_here(load_config(path, JobConfig))
    assert run("check", path) == 3
    other = config_of(tmp_path, corpus, sampler={"preset": "preview"})
    for command in ("check", "run"):
        with pytest.raises(ConfigError, match=r"sampler\.preset: preview \(was draft\).*retry-failed .* runs its 1 failed rows"):
            run(command, other)
    grown = config_of(tmp_path, [*corpus, *rows(5)[3:]])
    capsys.readouterr()
    assert run("check", grown) == 3
    assert "the manifest has 2 rows that are not there: `repaint-batch run" in printed(capsys)


def test_an_output_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ConfigError, match=r"output\.uri: .*cannot be written: .*file is not a folder"):
        check_writable(str(tmp_path / "file" / "out"), Storage())
    check_writable(str(tmp_path / "new" / "out"), Storage())
    assert not (tmp_path / "new").exists()


def test_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = Place(str(tmp_path), StorageConfig())
    made = output(place, kept(place))
    assert run("export", made, "--to", str(tmp_path / "pictures"), "--names", "source") == 0
    assert "4 pictures, 0.0 MiB, in 4 files" in printed(capsys)
    assert (tmp_path / "pictures" / "photos" / "2024" / "a.png").read_bytes() == b"first"
    assert run("export", made, "--to", str(tmp_path / "set"), "--format", "parquet") == 0
    assert (tmp_path / "set" / "data" / "train-00000.parquet").exists()
