"""Train a prior on your own pictures: ``python jobs/train_prior.py --config configs/prior-emoji.yaml``.

Ctrl-C or SIGTERM writes what there is, a prior that can be used and a checkpoint, and ends the run; started again, it goes on
from there. A run that was killed goes on from its last checkpoint. `--set` changes keys of the file for one run,
such as an hour on a GPU that goes on from the weights that ship:

    python jobs/train_prior.py --config configs/prior-photo.yaml --set batch_size=1024 --set learning_rate=1e-3 \\
        --set ema_decay=0.9995 --set compile=true --set minutes=60 --set output=data/prior-photo-gpu
"""

import signal
from types import FrameType
from typing import Annotated

import typer

from repaint_batch.config import load_config
from repaint_batch.errors import RepaintBatchError
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.priors.training import Trainer


def main(
    config: Annotated[str, typer.Option(help="YAML file with the keys of TrainConfig.")],
    changes: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE: change one setting of the file.")] = None,
) -> None:
    """Train, log, checkpoint and export a prior."""
    try:
        trainer = Trainer(load_config(config, TrainConfig, changes or ()), typer.echo)

        def stop(number: int, frame: FrameType | None) -> None:
            typer.echo("stopping: the checkpoint and the prior are being written")
            trainer.stop()
            signal.signal(signal.SIGINT, signal.default_int_handler)  # who insists is obeyed

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        folder = trainer.run()
    except RepaintBatchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"prior written to {folder}, step {trainer.step} of {trainer.config.steps}; the same command goes on from there")


if __name__ == "__main__":
    typer.run(main)
