"""Commands over priors: what a checkpoint is, and conversion to a diffusers folder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from repaint_batch.cli.flags import flags
from repaint_batch.cli.printing import AsJson, answer, console
from repaint_batch.cli.waiting import waiting
from repaint_batch.errors import PriorError
from repaint_batch.storage import Storage

if TYPE_CHECKING:
    from repaint_batch.priors.load import ReadNetwork

app = typer.Typer(name="prior", help="Look at priors and convert them.", no_args_is_help=True)

Source = Annotated[
    str, typer.Argument(help="bundled:photo, a diffusers folder, a .safetensors or .pt checkpoint, s3:// or a hub id.")
]
Revision = Annotated[str | None, typer.Option(help="Commit hash of a hub id.")]
AllowPickle = Annotated[bool, typer.Option("--allow-pickle", help="Also read .pt and .bin files, but only tensors from them.")]


@app.command()
def inspect(source: Source, revision: Revision = None, allow_pickle: AllowPickle = False, as_json: AsJson = False) -> None:
    """Show a prior: its network, its diffusion process, and the hashes of its weights.

    Exit code: 0 done; 2 it cannot be read as a prior; 1 anything else.

    Example: repaint-batch prior inspect bundled:photo
    """
    with waiting("loading"):
        read = _read(source, revision, allow_pickle)
        facts = _facts(read)
    answer(as_json, facts)
    for name, value in facts.items():
        console.print(f"[dim]{escape(name):<16}[/]{escape(str(value))}")


@app.command()
def fetch(
    name: Annotated[
        str | None, typer.Argument(help="Hub id, such as google/ddpm-celebahq-256; without one, the known priors are listed.")
    ] = None,
    target: Annotated[Path | None, typer.Argument(help="New folder to write; prior.source can then name it.")] = None,
    revision: Annotated[str | None, typer.Option(help="Commit hash; needed for a hub id that is not listed.")] = None,
) -> None:
    """Fetch a published prior from the Hugging Face hub at a pinned commit, and write it as a folder of safetensors.

    Example: repaint-batch prior fetch google/ddpm-celebahq-256 priors/faces
    """
    from repaint_batch.priors.published import PUBLISHED, published

    if name is None:
        for hub_id, one in PUBLISHED.items():
            facts = f"{one.size_px:>3} px  {one.megabytes} MB  {one.licence}  {one.revision[:12]}"
            console.print(f"{hub_id:<26}{one.domain:<24}{facts}")
        return
    if target is None:
        raise PriorError(f"prior fetch {name}: name the folder too, such as priors/{name.rpartition('/')[2]}")
    commit = published(name, revision)
    with waiting(f"fetching {name} at {commit[:12]}"):
        read = _read(name, commit, True, "NAME")  # weights are read as tensors alone, whatever file they come in
        from repaint_batch.priors.export import export

        note = export(read, target)
    console.print(f"wrote {escape(str(target))}: {escape(note)}; prior.source: {escape(str(target))}")


@app.command()
def convert(
    source: Source,
    target: Annotated[Path, typer.Argument(help="New folder, in diffusers' layout with safetensors.")],
    revision: Revision = None,
    allow_pickle: AllowPickle = False,
) -> None:
    """Write a prior or classifier as a diffusers folder, without any change of its weights.

    Some settings of a guided-diffusion checkpoint MODEL.pt cannot be read from its weights: image_size, num_head_channels or
    num_heads, use_new_attention_order. Put them into MODEL.json beside it. The published 256 px networks need no such file.

    Example: repaint-batch prior convert celeba256_250000.pt priors/celeba256 --allow-pickle
    """
    with waiting("converting"):
        read = _read(source, revision, allow_pickle)
        from repaint_batch.priors.export import export

        note = export(read, target)
    console.print(f"wrote {escape(str(target))}: {escape(note)}")


def _read(source: str, revision: str | None, allow_pickle: bool, argument: str = "SOURCE") -> "ReadNetwork":
    from repaint_batch.priors.source import locate

    with flags(source=argument, revision="--revision", allow_pickle="--allow-pickle"):
        path = locate(source, revision, Storage(), allow_pickle=allow_pickle)
        from repaint_batch.priors.load import read_network  # seconds, which are not spent on what is not there

        return read_network(path, allow_pickle=allow_pickle)


def _facts(read: "ReadNetwork") -> dict[str, Any]:
    from repaint_batch.priors.convert import unet2d_settings
    from repaint_batch.priors.guided_diffusion import GuidedClassifier, GuidedUNet
    from repaint_batch.priors.loaded import LoadedPrior
    from repaint_batch.priors.process import Process

    network, config = read.network, read.network.config
    facts: dict[str, Any] = {
        "network": f"{type(network).__name__}, {sum(p.numel() for p in network.parameters()):,} parameters",
    }
    if isinstance(network, GuidedClassifier):
        facts["pictures"] = f"{config.sample_size} px, {config.in_channels} channels"
        facts["classes"] = config.out_channels
    else:
        prior = LoadedPrior(network, Process.from_scheduler(read.scheduler.config, str(read.path)), read.scheduler)
        schedule = prior.schedule
        multiple = prior.size_multiple_px
        facts["pictures"] = f"{config.sample_size} px, or any multiple of {multiple} px; {prior.channels} channels"
        facts["classes"] = prior.num_classes or "none"
        facts["predicts"] = f"{prior.process.prediction}; variance {prior.process.variance}"
        facts["process"] = f"{len(schedule)} steps, signal left at the last: {float(schedule.alpha_bar[-1]) ** 0.5:.2e}"
    if isinstance(network, GuidedUNet):
        try:
            unet2d_settings(network)
            facts["as UNet2DModel"] = "exactly"
        except PriorError as reason:
            facts["as UNet2DModel"] = f"no: {reason}"
    if isinstance(network, GuidedUNet | GuidedClassifier):
        order = "new" if config.use_new_attention_order else "legacy"
        size = f"of {config.num_head_channels} channels" if config.num_head_channels else f"{config.num_heads} of them"
        facts["attention heads"] = f"{size}, {order} order"
    hashes = [f"sha256 {digest}  {file.name}" for file, digest in zip(read.files, read.sha256, strict=True)]
    facts["weights"] = f"\n{'':<16}".join(hashes)
    facts["card"] = next((line.lstrip("# ") for line in (read.card or "").splitlines() if line.strip()), "none")
    return facts
