"""The settings of training a prior."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from repaint_batch.config import Model, StorageConfig


class CropConfig(Model):
    """Random square crops, for pictures larger than the prior."""

    scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = (1.0, 0.5, 0.25)
    """Factors by which a picture is shrunk before a crop is taken; one is drawn for every crop."""
    aged: bool = False
    """Give crops the looks that photographs have in archives: toned, faded, soft, grainy, compressed."""


class NetworkConfig(Model):
    """Shape of the UNet2DModel to train."""

    block_out_channels: tuple[PositiveInt, ...] = (48, 96, 128)
    """Channels at each resolution, from the full one down by halves."""
    layers_per_block: PositiveInt = 1
    """Residual layers at each."""
    attention_px: tuple[PositiveInt, ...] = (8,)
    """Resolutions, in pixels, at which blocks attend."""
    attention_head_dim: PositiveInt = 32
    """Channels of an attention head."""
    norm_num_groups: PositiveInt = 8
    """Groups of a group normalisation; divides every number of channels."""


class TrainConfig(Model):
    """How `jobs/train_prior.py` trains an unconditional DDPM."""

    pictures: tuple[str, ...] = Field(min_length=1)
    """Folders, prefixes, or Parquet files and folders with an ``image`` column."""
    output: str
    """Local folder for checkpoints, log, samples and the finished prior."""
    image_size_px: PositiveInt = 32
    """Side of the square pictures that the prior will know."""
    crops: CropConfig | None = None
    """None: every picture whole, shrunk to a square on white. Otherwise random crops."""
    held_out: tuple[str, ...] = ()
    """Base names, or patterns of them, of pictures that are never trained on; the loss on them is logged."""
    holdout_one_in: PositiveInt | None = 20
    """Every picture whose base name has crc32 divisible by this is held out too."""
    leave_out: tuple[str, ...] = ()
    """Base names, or patterns of them, of pictures that are not read at all."""
    network: NetworkConfig = NetworkConfig()
    init_from: str | None = None
    """Prior whose weights training starts from, of any size of pictures: ``bundled:photo``, a folder, or a prefix."""
    steps: PositiveInt = 20_000
    """Steps of the optimiser."""
    batch_size: PositiveInt = 64
    """Pictures in a step, of all workers together."""
    workers: PositiveInt = 1
    """Processes that share every batch. More than 1 run on Ray, each on a GPU where there are GPUs; `output`, and `pictures` that
    are no URIs, must be on a disk that all their hosts see. A run may go on with another number of them."""
    learning_rate: PositiveFloat = 6e-4
    """AdamW's at its highest."""
    decay: Literal["cosine", "none"] = "cosine"
    """Whether the learning rate falls to 0 at the last step; `none` for a run that others go on from."""
    ema_decay: float = Field(default=0.999, gt=0, lt=1)
    """Share that the averaged weights, which become the prior, keep of themselves in a step."""
    seed: int = Field(default=0, ge=0)
    """Seed of the first weights, of crops and of noise."""
    minutes: PositiveFloat | None = None
    """Longest that a run trains before it writes what it has; started again, it goes on."""
    compile: bool = False
    """Compile the network; pays after some hundred steps."""
    checkpoint_every: PositiveInt = 250
    """Steps between checkpoints, each with a prior that can be used; a killed run goes on from the last one."""
    name: str = "prior"
    """Name on the model card."""
    licence: str = "unknown"
    """Licences of the pictures, for the model card."""
    storage: StorageConfig = StorageConfig()

    @model_validator(mode="after")
    def _workers_have_equal_shares(self) -> Self:
        if self.batch_size % self.workers:
            raise ValueError(f"batch_size: {self.batch_size} pictures cannot be shared by {self.workers} workers alike")
        return self
