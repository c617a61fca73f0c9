"""What README and guides tell people to type.

Commands of the README and of the guide to operation are typed in the order of the pages, on a real S3 service and a real Ray
cluster. Of all pages, options, settings, links and tables are held against what is there.
"""

import contextlib
import gzip
import io
import json
import os
import re
import runpy
import shlex
import shutil
import signal
import sys
import threading
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import typer
import yaml
from PIL import Image

from repaint_batch import cli
from repaint_batch.cli import dev
from repaint_batch.cli.options import _settings
from repaint_batch.config import JobConfig, StorageConfig
from repaint_batch.nights.config import NightSettings
from repaint_batch.outputs.reviews import count_verdicts
from repaint_batch.review.server import ReviewServer
from repaint_batch.storage import Storage
from repaint_batch.table.results import ResultsTable

from .corpus import encoded, hole, picture, save_tiny_prior
from .seaweed import S3Service

ROOT = Path(__file__).parents[1]
GUIDES = ROOT / "repaint_batch" / "guides"
PAGES = {"README.md": ROOT / "README.md", **{path.name: path for path in sorted(GUIDES.glob("*.md"))}}
TEXT = {name: path.read_text(encoding="utf-8") for name, path in PAGES.items()}
RUN = ("README.md", "operate.md")
"""Pages whose commands are all run, in this order, in one place."""

ELSEWHERE = {
    "pip install -c infra/constraints.txt -e . && repaint-batch demo": ".ci/run does it, which takes minutes",
    'pip install -c infra/constraints.txt -e ".[test]" && pytest': ".ci/run does it; here it would run itself",
    "infra/docker/build-without-daemon": "it needs root and fetches more than a gigabyte",
    "ray start --head": "tests/scripts starts a cluster and submits to it; a fixed port would meet others here",
    "npm install --ignore-scripts --prefix data": "the pictures of the bundled prior are no part of the tests' installation",
    "repaint-batch night": "tests/nights runs nights; here a model would have to be sampled for minutes",
    "repaint-batch check job.yaml --probe": "tests/preflight times a prior; the page's other lines of check are run",
}
"""Beginnings of lines that are not run here, with the reason."""


def blocks(page: str, language: str) -> list[str]:
    """Return a page's fenced blocks in a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT[page], re.MULTILINE | re.DOTALL)


def lines(page: str) -> list[str]:
    """Return every command of a page, without comments."""
    return [line.partition(" #")[0].strip() for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def cluster(s3_service: S3Service) -> Iterator[None]:
    """A local cluster, unless another test's is up in this process."""
    own = not ray.is_initialized()
    if own:
        ray.init(
            "local",  # and not whatever cluster another test has started on this machine
            num_cpus=4,
            object_store_memory=160 * 2**20,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
        )
    yield
    if own:
        ray.shutdown()


class Desk:
    """Where the README's reader sits: a folder, a bucket in place of ``s3://my-corpus``, four pictures, a small prior."""

    def __init__(self, folder: Path, service: S3Service) -> None:
        self.folder, self.service = folder, service
        self.bucket = f"s3://readme-{uuid.uuid4().hex[:12]}"
        self.storage = Storage(StorageConfig(endpoint_url=service.endpoint_url, region="us-east-1"))
        service.filesystem().mkdir(self.bucket.removeprefix("s3://"))
        for number in range(4):
            self.storage.write(f"{self.bucket}/pictures/{number}.png", encoded(picture(number)))
            self.storage.write(f"{self.bucket}/masks/{number}.png", encoded(hole(number)))
        prior = Path(save_tiny_prior(folder / "prior"))
        for file in prior.rglob("*.*"):
            self.storage.upload(f"{self.bucket}/priors/mine/{file.relative_to(prior)}", file)
        for name in ("jobs", "configs"):
            shutil.copytree(ROOT / name, folder / name)
        reach = f"\nstorage:\n  endpoint_url: {service.endpoint_url}\n  region: us-east-1\n"
        (folder / "job.yaml").write_text(self.here(blocks("README.md", "yaml")[0]) + reach)
        resume = folder / "configs" / "resume-s3.yaml"
        resume.write_text(self.here(resume.read_text()) + f"\nendpoint_url: {service.endpoint_url}\n")
        Image.fromarray(picture(0, 48)).save(folder / "damaged.png")
        Image.fromarray(hole(0, 48)).save(folder / "mask.png")

    @property
    def output(self) -> str:
        return f"{self.bucket}/restored"

    def here(self, text: str) -> str:
        """Return text of the README with the names of this place."""
        return text.replace("s3://my-corpus", self.bucket).replace("SAMPLE_ID", "0.png")

    def type(self, line: str) -> tuple[int, str]:
        """Run a command; return its exit code and what it printed."""
        words = shlex.split(self.here(line))
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            if words[:3] == ["ray", "job", "submit"]:  # that it arrives is what tests/scripts/test_jobs.py shows
                code = run_script(words[words.index("--") + 2 :])
            else:
                assert words[0] == "repaint-batch", f"{line}: neither run here nor listed in ELSEWHERE"
                code = cli.run(words[1:])
        return code, said.getvalue()


def run_script(words: list[str]) -> int:
    before = sys.argv
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as leaving:
        return int(leaving.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.fixture
def desk(tmp_path: Path, s3_service: S3Service, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_service.endpoint_url)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return Desk(tmp_path, s3_service)


def reviewer(served: Callable[..., None]) -> Callable[..., None]:
    """Return `ReviewServer.serve_forever` with somebody who accepts three pictures, wants one redone, and presses Ctrl-C."""

    def decide(server: ReviewServer) -> None:
        with urllib.request.urlopen(server.url + "rows") as answer:
            columns = json.loads(gzip.decompress(answer.read()))["columns"]
        decisions = [
            {"sample_id": sample_id, "output_sha256": digest, "verdict": "redo" if sample_id == "3.png" else "accept"}
            for sample_id, digest in zip(columns["sample_id"], columns["output_sha256"], strict=True)
        ]
        body = json.dumps({"session": str(uuid.uuid4()), "number": 1, "decisions": decisions}).encode()
        headers = {"Content-Type": "application/json", "Origin": f"http://{server.hosts[0]}"}
        urllib.request.urlopen(urllib.request.Request(server.url + "decisions", body, headers)).close()

    def serve(server: ReviewServer, **options: Any) -> None:
        def visit() -> None:
            try:
                decide(server)
            finally:
                os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=visit, daemon=True).start()
        served(server, **options)

    return serve


@pytest.mark.usefixtures("cluster")
def test_every_command_of_readme_and_operate_runs(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReviewServer, "serve_forever", reviewer(ReviewServer.serve_forever))
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what a shell starts in the background ignores it
    typed = [line for page in RUN for line in lines(page) if not line.startswith(tuple(ELSEWHERE))]
    typed = list(dict.fromkeys(typed))
    said = {}
    for line in typed:
        code, said[line] = desk.type(line)
        assert code == 0, f"{line}\n{said[line]}"
    assert len(typed) > 18
    for beginning, words in {
        "repaint-batch manifest build": "4 rows in",
        "repaint-batch run job.yaml --rows 2": "2 of 4 rows are left: `repaint-batch run job.yaml` runs them",
        "ray job submit --working-dir . -- python jobs/restore_dataset.py": "2 rows ran",
        "ray job submit --working-dir . -- python jobs/resume_failed.py": "already finished",
        "repaint-batch stop": "nothing runs in",
        "repaint-batch review": "3 accepted, 0 rejected, 1 to redo",
        "repaint-batch verify": "no problems",
        "repaint-batch replay": "0.png: equal",
    }.items():
        found = [answer for line, answer in said.items() if line.startswith(beginning)]
        assert found, f"no page says {beginning} any more"
        assert all(words in " ".join(answer.split()) for answer in found), found
    rows = {row["sample_id"]: row for row in ResultsTable(desk.output, desk.storage).rows()}
    assert {sample_id: row["seed"] for sample_id, row in rows.items()} == {"0.png": 0, "1.png": 0, "2.png": 0, "3.png": 1}
    assert count_verdicts(desk.output, desk.storage) == {"accept": 3}, "nobody has decided about the redo yet"
    exported = {path.name for path in (desk.folder / "good").iterdir()}
    assert exported == {f"{number}.png{mask}" for number in range(3) for mask in ("", ".mask.png")}
    for name in ("pairs.png", "from-noise.gif"):
        assert (desk.folder / name).stat().st_size > 500, name

    (one_picture,), (all_rows,) = blocks("README.md", "python"), blocks("operate.md", "python")
    exec(one_picture, {})
    assert Image.open("restored.png").size == (48, 48)
    found_rows: dict[str, Any] = {}
    exec(desk.here(all_rows), found_rows)
    assert len(found_rows["rows"]) == 4


@pytest.mark.parametrize("page", [*PAGES])
def test_commands_take_the_options_that_pages_give_them(page: str) -> None:
    for name in dev.HEAVY:
        dev.load(name)
    for line in lines(page):
        words = shlex.split(line)
        if words[0] == "repaint-batch":
            takes(words[1:])
        elif ("python" in words and "job" not in words[:2]) or words[:3] == ["ray", "job", "submit"]:
            assert_script_takes(words[words.index("python") + 1 :])
        else:
            assert line.startswith((*ELSEWHERE, "docker", "kubectl")), f"{page}: {line}: nobody checks this"


def takes(words: list[str]) -> None:
    """Raise where the command line does not know a command, option or value."""
    command: Any = typer.main.get_command(cli.app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(command.name, words)


def assert_script_takes(words: list[str]) -> None:
    path = ROOT / (words[1].replace(".", "/") if words[0] == "-m" else words[0])
    path = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    text = path.read_text()
    for option in [word for word in words if word.startswith("--")]:
        parameter = f"{option.removeprefix('--').replace('-', '_')}:"  # of typer's
        assert f'"{option}"' in text or parameter in text, f"{path}: no option {option}"


@pytest.mark.parametrize("page", [*PAGES])
def test_settings_that_pages_name_are_there(page: str) -> None:
    settings = {**dict(_settings(JobConfig)), **{f"night.{name}": None for name in NightSettings.model_fields}}
    sections = {name.partition(".")[0] for name in settings}
    for section, key in re.findall(r"`([a-z]+)\.([a-z_]+)(?:`|: )", TEXT[page]):
        if section in sections and key != "py":
            assert f"{section}.{key}" in settings, f"{page}: there is no setting {section}.{key}"
    for block in blocks(page, "yaml"):
        JobConfig.model_validate(yaml.safe_load(block))


def test_what_is_not_run_here_is_in_the_readme_and_has_a_reason() -> None:
    for beginning, reason in ELSEWHERE.items():
        assert any(line.startswith(beginning) for page in PAGES for line in lines(page)), f"{beginning}: on no page any more"
        assert reason
    ci = (ROOT / ".ci" / "run").read_text()
    assert 'pip install -c infra/constraints.txt -e ".[test]" && pytest\n' in ci
    assert "repaint-batch demo" in ci


def test_the_table_of_rooms_names_every_room() -> None:
    table = TEXT["develop.md"].partition("## The rooms")[2].partition("## ")[0]
    named = set(re.findall(r"`([a-z0-9_]+)(?:/|\.py)`", table))
    rooms = {path.stem for path in (ROOT / "repaint_batch").iterdir() if not path.name.startswith(("_", "."))}
    assert named - {"repaint_batch"} == rooms - {"assets", "guides", "py"}


def anchors(text: str) -> set[str]:
    """Return what GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES])
def test_links_lead_somewhere(page: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", TEXT[page]):
        path = (PAGES[page].parent / target).resolve() if target else PAGES[page]
        assert path.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), f"{page}: {target}#{anchor}"
    for name in re.findall(r"`((?:infra|configs|jobs)/[A-Za-z./_-]+)`", TEXT[page]):
        assert (ROOT / name).exists(), f"{page}: {name}"


def test_the_readme_is_short_and_every_guide_is_linked() -> None:
    assert TEXT["README.md"].count("\n") < 150
    assert [name for name in PAGES if name != "README.md" and f"guides/{name}" not in TEXT["README.md"]] == []


def test_the_table_of_presets_is_theirs() -> None:
    from repaint_batch.sampler.presets import PRESETS

    told = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| (\d+) \|", TEXT["operate.md"], re.MULTILINE))
    assert {name: int(nfe) for name, nfe in told.items()} == {name: sampler.nfe for name, sampler in PRESETS.items()}


def test_the_table_of_published_priors_is_theirs() -> None:
    from repaint_batch.priors.published import PUBLISHED

    told = re.findall(r"^\| `(google/[^`]+)` \| (\d+) px \| [^|]+ \| ([^|]+) \|", TEXT["priors.md"], re.MULTILINE)
    assert told == [(name, str(one.size_px), one.licence) for name, one in PUBLISHED.items()]
