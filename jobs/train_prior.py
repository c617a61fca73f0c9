"""Train a prior on your own pictures: ``python jobs/train_prior.py --config configs/prior-emoji.yaml``.

A run that was stopped goes on from its last checkpoint when it is started again.
"""

from typing import Annotated

import typer

from repaint_batch.config import TrainConfig, load_config
from repaint_batch.errors import RepaintBatchError
from repaint_batch.priors.training import Trainer


def main(config: Annotated[str, typer.Option(help="YAML file with the keys of TrainConfig.")]) -> None:
    """Train, log, checkpoint and export a prior."""
    try:
        folder = Trainer(load_config(config, TrainConfig), typer.echo).run()
    except RepaintBatchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"prior written to {folder}")


if __name__ == "__main__":
    typer.run(main)
