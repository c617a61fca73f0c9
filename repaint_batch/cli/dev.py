"""Commands for those who develop the package: schedule, and evaluate and bench, whose modules are imported when asked for."""

import importlib
from pathlib import Path
from typing import Annotated, get_args

import typer
from rich.markup import escape
from rich.table import Table

from repaint_batch.cli.printing import console
from repaint_batch.config import PresetName
from repaint_batch.errors import ConfigError, did_you_mean

app = typer.Typer(name="dev", help="Measure and judge: for those who develop this package, or a sampler.", no_args_is_help=True)
HEAVY = {
    "evaluate": "Judge samplers: distance to an exact posterior, and quality on held-out pictures.",
    "bench": "Measure this package against diffusers' RePaintPipeline: same process, prior, pictures and schedule.",
}
"""Commands whose modules import torch and diffusers, which takes seconds."""
for name, summary in HEAVY.items():
    app.command(name, help=summary)(lambda: None)


def load(name: str) -> None:
    """Put a real command in the place of its summary."""
    module = importlib.import_module(f"repaint_batch.cli.{name}")
    app.registered_commands = [command for command in app.registered_commands if command.name != name]
    app.command(name)(getattr(module, name))


def complete_preset(incomplete: str) -> list[str]:
    """Return the presets that a name may go on as."""
    return [name for name in get_args(PresetName) if name.startswith(incomplete)]


@app.command()
def schedule(
    preset: Annotated[
        str | None, typer.Option(help="One preset; by default a table of all of them.", autocompletion=complete_preset)
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Write the path as a picture: a .png or .svg file.")] = None,
) -> None:
    """Explain the presets: what each costs, and its path of noise levels, down with the network and back up with noise.

    Example: repaint-batch dev schedule --preset paper --plot paper.svg
    """
    from repaint_batch.sampler.presets import PRESETS

    if preset is None:
        if plot is not None:
            raise ConfigError(f"--plot draws one preset; add --preset, one of {', '.join(PRESETS)}")
        console.print(_presets())
        return
    if preset not in PRESETS:
        raise ConfigError(f"--preset: {preset} is not one of {', '.join(PRESETS)}{did_you_mean(preset, PRESETS)}")
    from repaint_batch.report.schedule_plot import draw_path, jumps_up, sketch, visited_times

    sampler = PRESETS[preset]
    times = visited_times(sampler)
    console.print(f"[bold]{preset}[/]: {escape(_settings(preset))}")
    console.print(f"{len(times):,} network evaluations per window, {jumps_up(times):,} times back up; t from {max(times)} to 0\n")
    console.print(sketch(times))
    if plot is not None:
        draw_path(times, f"{preset}: {len(times):,} network evaluations", plot)
        console.print(f"\n{escape(str(plot))}")


def _presets() -> Table:
    from repaint_batch.sampler.presets import PRESETS

    table = Table(box=None, pad_edge=False)
    table.add_column("preset")
    table.add_column("evaluations per window", justify="right")
    table.add_column("sampler")
    for name, sampler in PRESETS.items():
        table.add_row(name, f"{sampler.nfe:,}", escape(_settings(name)))
    return table


def _settings(preset: str) -> str:
    from repaint_batch.sampler.presets import PRESETS

    values = PRESETS[preset].describe()
    return ", ".join([str(values.pop("sampler")), *(f"{name} {value}" for name, value in values.items())])
