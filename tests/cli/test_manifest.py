"""`manifest build` as a person meets it."""

from pathlib import Path

import pytest
import typer

from repaint_batch.cli.manifest import app
from repaint_batch.errors import ManifestError
from repaint_batch.manifest import open_manifest
from repaint_batch.storage import Storage


def build(*arguments: str) -> None:
    code = app(["build", *arguments], standalone_mode=False)
    assert not code


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


def test_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("photos/a.jpg", "photos/b.jpg", "masks/a_m.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    target = str(tmp_path / "lists" / "m.parquet")
    arguments = (
        *("--images", str(tmp_path / "photos"), "--masks", str(tmp_path / "masks")),
        *("--pattern", "{stem}_m", "--to", target),
    )
    with pytest.raises(ManifestError, match=r"1 pictures without a mask: b.jpg; correct --pattern"):
        build(*arguments)
    build(*arguments, "--allow-unpaired")
    said = printed(capsys)
    assert f"1 rows in {target}" in said
    assert "left out: 1 pictures without a mask: b.jpg" in said
    assert f"set storage.allow: [{tmp_path / 'photos'}, {tmp_path / 'masks'}]" in said
    assert open_manifest(target, Storage()).rows == 1


def test_csv_and_one_mask(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "list.csv").write_text("image,mask\na.png,m.png\n")
    (tmp_path / "a.png").write_bytes(b"x")
    (tmp_path / "one.json").write_text('{"boxes": [[0, 0, 2, 2]]}')
    build("--csv", str(tmp_path / "list.csv"), "--to", str(tmp_path / "csv.parquet"))
    build("--images", str(tmp_path), "--mask", str(tmp_path / "one.json"), "--to", str(tmp_path / "one.parquet"))
    said = printed(capsys)
    assert "1 rows in" in said
    assert "storage.allow" not in said


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "exactly one of --images, --csv and --parquet"),
        (["--images", "a", "--csv", "b"], "exactly one of --images, --csv and --parquet"),
        (["--images", "a"], "--images needs exactly one of --masks"),
        (["--images", "a", "--mask", "b", "--masks", "c"], "--images needs exactly one of"),
        (["--csv", "/absent/list.csv"], "/absent/list.csv: no such file; check --csv"),
        (["--parquet", "/absent"], "/absent: no Parquet file there; check --parquet"),
    ],
)
def test_mistaken_arguments(tmp_path: Path, arguments: list[str], says: str) -> None:
    with pytest.raises(ManifestError, match=says):
        build(*arguments, "--to", str(tmp_path / "m.parquet"))


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises((typer.Exit, SystemExit)):
        app(["build", "--help"])
    assert "Example: repaint-batch manifest build" in printed(capsys)
