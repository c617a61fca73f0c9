"""Train a prior on your own pictures: ``python jobs/train_prior.py --config configs/prior-emoji.yaml``.

Ctrl-C or SIGTERM writes what there is after the step that is under way, a checkpoint and a prior that can be used, and ends the
run; started again, it goes on from there. A run that was killed goes on from its last checkpoint. `--set` changes keys of the
file for one run, such as an hour on a GPU that goes on from the weights that ship:

    python jobs/train_prior.py --config configs/prior-photo.yaml --set batch_size=1024 --set learning_rate=1e-3 \\
        --set ema_decay=0.9995 --set compile=true --set minutes=60 --set output=data/prior-photo-gpu

`--set workers=8` shares every batch between eight GPUs of this machine, or of the Ray cluster that RAY_ADDRESS names or that the
job was submitted to (`pip install "repaint-batch[train]"`).
"""

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from repaint_batch.config import load_config
from repaint_batch.errors import RepaintBatchError
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.priors.training import Trainer

if TYPE_CHECKING:
    from repaint_batch.pipeline.shared_training import SharedTraining


@contextlib.contextmanager
def stopped_by_signals(trainer: "Trainer | SharedTraining") -> Iterator[None]:
    """Let SIGINT and SIGTERM stop a trainer, and say so at once: Python's own handlers wait until torch is back from a step."""
    ear, mouth = socket.socketpair()
    mouth.setblocking(False)

    def listen() -> None:
        while ear.recv(1):
            typer.echo("stopping after this step; saving the checkpoint and the prior …")
            trainer.stop()

    def insist(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # who insists is obeyed

    before = [signal.signal(number, insist) for number in (signal.SIGINT, signal.SIGTERM)]
    woken = signal.set_wakeup_fd(mouth.fileno())
    threading.Thread(target=listen, daemon=True, name="signals").start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(woken)
        mouth.close()
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), before, strict=True):
            signal.signal(number, handler)


def trainer_of(config: TrainConfig) -> "Trainer | SharedTraining":
    """Return what trains: this process, or workers on Ray, which one process does without."""
    if config.workers == 1:
        return Trainer(config, typer.echo)
    from repaint_batch.pipeline.shared_training import SharedTraining

    return SharedTraining(config, typer.echo)


def main(
    config: Annotated[str, typer.Option(help="YAML file with the keys of TrainConfig.")],
    changes: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE: change one setting of the file.")] = None,
) -> None:
    """Train, log, checkpoint and export a prior."""
    try:
        trainer = trainer_of(load_config(config, TrainConfig, changes or ()))
        with stopped_by_signals(trainer):
            folder = trainer.run()
    except RepaintBatchError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(2) from error
    typer.echo(f"prior written to {folder}, step {trainer.step} of {trainer.config.steps}; the same command goes on from there")


if __name__ == "__main__":
    typer.run(main)
