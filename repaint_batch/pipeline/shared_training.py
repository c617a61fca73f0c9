"""A training that several workers share: Ray Train starts them and joins their torch processes, each of which runs a `Trainer`.

Lines of progress come to the driver by one queue and the wish to stop goes to the first worker by another, since workers may
be on other hosts. A worker that dies ends all; Ray starts them again, and they go on from the last checkpoint.
"""

import os
import shutil
import threading
from pathlib import Path
from typing import Any

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
from ray.util.queue import Empty, Queue

from repaint_batch.config import ComputeConfig
from repaint_batch.errors import ConfigError, RepaintBatchError
from repaint_batch.pipeline.run import ray_session
from repaint_batch.priors.train_config import TrainConfig
from repaint_batch.priors.training import Report, Trainer

_FAILURES = 3  # of workers, after which the run ends
_LISTEN_S = 0.5


class SharedTraining:
    """The driver of a run with `workers` over 1; used as a `Trainer` is.

    Args:
        config: what to train.
        report: called with each line that the first worker says.

    Attributes:
        step: the last step that was taken, once `run` has returned.
    """

    def __init__(self, config: TrainConfig, report: Report = print) -> None:
        self.config, self.report, self.step = config, report, 0
        self._stopping = threading.Event()
        self._error: RepaintBatchError | None = None

    def stop(self) -> None:
        """Let `run` write what it has within a few steps, and return; from any thread or signal handler."""
        self._stopping.set()

    def run(self) -> Path:
        """Train to the last step, or as long as the config says, and return the folder of the prior.

        Raises:
            ConfigError: what a `Trainer` raises, or this machine has fewer GPUs or cores than workers.
        """
        output = Path(self.config.output).resolve()
        with ray_session(ComputeConfig(num_gpus=0)):  # of the driver's actors; there are none
            on_gpus = self._placed()
            said, stops = (Queue(actor_options={"num_cpus": 0}) for _ in range(2))
            settings = {"config": self.config.model_dump(mode="json"), "folder": os.getcwd(), "said": said, "stops": stops}
            trainer = TorchTrainer(
                _work,
                train_loop_config=settings,
                scaling_config=ScalingConfig(num_workers=self.config.workers, use_gpu=on_gpus),
                run_config=RunConfig(
                    storage_path=str(output / "ray"), failure_config=FailureConfig(max_failures=_FAILURES)
                ),
            )
            fitting = _Fitting(trainer)
            fitting.start()
            while fitting.is_alive() or said.qsize():
                if self._stopping.is_set() and not stops.qsize():
                    stops.put(True)
                try:
                    self._hear(said.get(timeout=_LISTEN_S))
                except Empty:
                    continue
        shutil.rmtree(output / "ray", ignore_errors=True)  # Ray's own record, which nothing reads
        error = self._error or fitting.error
        if error is not None:
            raise error
        return output / "prior"

    def _placed(self) -> bool:
        """Return whether workers get GPUs."""
        there, wanted = ray.cluster_resources(), self.config.workers
        kind = "GPU" if there.get("GPU", 0) > 0 else "CPU"
        if there.get(kind, 0) < wanted and "RAY_ADDRESS" not in os.environ:  # a cluster that is joined may grow
            names = {"GPU": "GPUs", "CPU": "cores"}
            raise ConfigError(f"workers: {wanted}, but this machine has {there.get(kind, 0):.0f} {names[kind]}")
        return kind == "GPU"

    def _hear(self, message: str | int | RepaintBatchError) -> None:
        if isinstance(message, RepaintBatchError):
            self._error = message  # after which all workers end
        elif isinstance(message, int):
            self.step = message
        else:
            self.report(message)


class _Fitting(threading.Thread):
    """Ray Train's own loop beside the main thread, whose signals it would take."""

    def __init__(self, trainer: TorchTrainer) -> None:
        super().__init__(daemon=True, name="ray-train")
        self._trainer = trainer
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self._trainer.fit()
        except Exception as error:
            self.error = error


def _work(settings: dict[str, Any]) -> None:
    """Be one worker; the first one speaks."""
    is_first = ray.train.get_context().get_world_rank() == 0
    if os.path.isdir(settings["folder"]):
        os.chdir(settings["folder"])  # Ray has moved the worker; relative paths mean the driver's
    try:
        trainer = Trainer(TrainConfig.model_validate(settings["config"]), settings["said"].put)
        if is_first:
            threading.Thread(target=_listen, args=(settings["stops"], trainer), daemon=True, name="stops").start()
        trainer.run()
        if is_first:
            settings["said"].put(trainer.step)
    except RepaintBatchError as error:  # all meet it alike
        if is_first:
            settings["said"].put(error)


def _listen(stops: Queue, trainer: Trainer) -> None:
    stops.get()
    trainer.stop()
