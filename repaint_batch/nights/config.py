"""The settings of a night."""

from pydantic import Field, PositiveFloat, PositiveInt

from repaint_batch.config import (
    ComputeConfig,
    ImagesConfig,
    InputConfig,
    JobConfig,
    Model,
    OutputConfig,
    PriorConfig,
    SamplerConfig,
    StorageConfig,
)
from repaint_batch.errors import ConfigError
from repaint_batch.uris import normalise


class CorpusConfig(Model):
    """Where pictures and masks are listed."""

    images: str
    """Folder or prefix of the pictures; a picture's path below it is its sample_id."""
    masks: str | None = None
    """Folder or prefix of their masks; may be the same. None: `images.masks` says what to look for in the pictures."""
    pattern: str = "{stem}"
    """Where a picture's mask is below `masks`, as for `repaint-batch manifest build`."""


class NightSettings(Model):
    """How long a night lasts, and what it tolerates."""

    hours: PositiveFloat = 8
    """Most hours that a night runs; the next night does what is left."""
    tries: PositiveInt = 3
    """Nights in which a row may fail. Then it is left alone until its picture, its mask or the settings change."""
    keep_days: PositiveFloat = 30
    """Days for which earlier versions, and the files that only they need, are kept for a rollback."""
    most_removed: float = Field(default=0.5, ge=0, le=1)
    """Share of the output's rows that a night may remove because their pictures are gone. A larger share looks like a wrong
    prefix, and is refused."""
    most_failed: float = Field(default=0.05, ge=0, le=1)
    """Share of the night's rows that may fail; if more fail, the exit code is 3."""
    webhook: str | None = Field(default=None, pattern=r"^https?://")
    """URL to which the summary is posted as JSON. It is also written to the output."""


class NightConfig(Model):
    """A corpus to keep restored."""

    corpus: CorpusConfig
    output: OutputConfig
    night: NightSettings = NightSettings()
    prior: PriorConfig = PriorConfig()
    sampler: SamplerConfig = SamplerConfig()
    images: ImagesConfig = ImagesConfig()
    compute: ComputeConfig = ComputeConfig()
    storage: StorageConfig = StorageConfig()

    def job(self, manifest: str) -> JobConfig:
        """Return the job over a manifest of pictures of the corpus.

        Raises:
            ConfigError: neither are there masks nor is it said what to look for.
        """
        if self.corpus.masks is None and self.images.masks is None:
            raise ConfigError("corpus.masks: say where masks are, or in images.masks what to look for: {find: [scratches, dust]}")
        folders = tuple(normalise(folder) for folder in (self.corpus.images, self.corpus.masks) if folder is not None)
        allow = tuple(dict.fromkeys((*self.storage.allow, *folders)))
        return JobConfig(
            input=InputConfig(manifest=manifest),
            output=self.output,
            prior=self.prior,
            sampler=self.sampler,
            images=self.images,
            compute=self.compute,
            storage=self.storage.model_copy(update={"allow": allow}),
        )
