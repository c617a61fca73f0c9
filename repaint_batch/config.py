"""The settings of a job: frozen pydantic models, read from YAML.

Every model forbids unknown keys, so that a mistyped setting is an error and never a silent default. Credentials have no
place here: they come from the environment or the usual AWS chain (see `repaint_batch.storage`).

Relative paths are taken from the current directory, which for ``ray job submit --working-dir .`` is that folder.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    field_validator,
    model_validator,
)

from repaint_batch.errors import ConfigError, did_you_mean, redact

PresetName = Literal["paper", "best", "balanced", "fast", "draft", "preview"]
OutputFormat = Literal["source", "png", "webp-lossless", "jpeg"]


class Model(BaseModel):
    """Base of every section: immutable, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, protected_namespaces=())


class InputConfig(Model):
    manifest: str
    """Parquet file, or folder or prefix of Parquet files: columns sample_id, image, mask and optionally seed."""


class OutputConfig(Model):
    uri: str
    """Folder or ``s3://bucket/prefix`` that holds the results table, the plans and, if asked for, image files."""
    images: Literal["table", "files", "webdataset"] = "table"
    """Where restored bytes go: into a column of the results table, into files named as their sources, or into one tar per shard.

    The table names every file and tar."""
    format: OutputFormat = "source"
    """Encoding of restored pictures; ``source`` keeps the format of the picture that came in."""
    provenance: Literal["none", "xmp"] = "none"
    """Whether the XMP of a restored picture says which regions are synthetic, and which prior, sampler, job and row made them."""


class PriorConfig(Model):
    source: str = "bundled:photo"
    """``bundled:photo``, ``bundled:emoji``, a folder or prefix in diffusers' layout, a guided-diffusion checkpoint, or a hub id.

    What the weights of a checkpoint ``model.pt`` or ``model.safetensors`` do not tell is read from ``model.json`` beside it.
    """
    revision: str | None = None
    """Commit hash of a hub id; required for one, so that a job means the same thing next year."""
    class_label: int | None = Field(default=None, ge=0)
    """Class that a class-conditional prior is asked for."""
    classifier: str | None = None
    """Noisy-image classifier checkpoint whose gradient guides the sampler."""
    classifier_scale: PositiveFloat = 1.0
    """Strength of that guidance."""
    allow_pickle: bool = False
    """Read ``.pt`` and ``.bin`` checkpoints too (always with ``weights_only=True``)."""


class SamplerConfig(Model):
    preset: PresetName = "fast"
    """The sampler and its number of network evaluations; `repaint-batch dev schedule` explains each preset."""
    num_steps: PositiveInt | None = None
    """Number of steps, instead of the preset's."""
    own: str | None = Field(default=None, pattern=r"^[\w.]+:\w+$")
    """A sampler of your own, instead of a preset: ``module:name``, importable on every node. See
    `help(repaint_batch.sampler.sampler.Sampler)`."""
    seed: int = Field(default=0, ge=0)
    """Seed of the job. Noise depends only on this seed, the sample_id and the window. A row's own seed takes precedence."""
    candidates: int = Field(default=1, ge=1, le=16)
    """How often every picture is restored, each time with the next seed; the result with the lowest seam score is kept.
    It hides seams and brings no picture closer to the original: of two restored emoji the kept one errs
    1.4 % more than the mean (-2.6 to +8.1); the one of the lower risk 1.7 % less (-7.2 to +3.7)."""


DamageKind = Literal["scratches", "dust", "transport", "overlay", "edges"]


class FindConfig(Model):
    """What damage to look for in pictures without a mask."""

    find: tuple[DamageKind, ...] = Field(min_length=1)
    """``scratches``: thin lines, creases, hairs; ``dust``: specks and blotches; ``transport``: straight lines through the whole
    frame, however faint; ``overlay``: what stands at the same place in many pictures; ``edges``: torn corners, missing
    borders."""
    false_marks_per_megapixel: float = Field(default=0.02, ge=0.02, le=10)
    """Sensitivity to scratches and dust: false marks that a megapixel of an undamaged photograph may get. A higher value finds
    fainter damage too."""


class ImagesConfig(Model):
    masks: FindConfig | None = None
    """What to look for in rows without a mask, such as {find: [scratches, dust], false_marks_per_megapixel: 0.02}: any of
    scratches, dust, transport and edges. By default such rows fail. The masks that are found are kept in the output."""
    hole: str = Field(default="white", pattern=r"^(white|black|transparent|opaque|#[0-9a-fA-F]{6})$")
    """What marks the pixels to restore in a mask: a shade, the alpha channel, or one colour as #rrggbb."""
    mask_threshold: float = Field(default=0.5, gt=0, lt=1)
    """How white a mask's pixel must be to count as white, or how opaque to count as opaque, as a share of full."""
    mask_grow_px: int = Field(default=0, ge=-1024, le=1024)
    """Pixels by which every hole grows on all sides; a negative number shrinks it."""
    mask_resize: bool = False
    """Resize a mask of another size to its picture (nearest pixel), instead of refusing it."""
    mask_drawn_on: Literal["upright", "stored"] = "upright"
    """Whether a mask fits the picture as displayed or as stored; they differ where EXIF gives an orientation."""
    max_windows: PositiveInt = 2048
    """Most windows that one picture may cost: 2,000 specks on 12 megapixels need some 1,300 windows of 64 px.

    A large hole is restored coarse to fine, as fine as this limit and 512 additional windows allow."""
    frames: Literal["refuse", "first", "all"] = "refuse"
    """What to do with animations and pages: refuse them, restore the first and drop the rest, or restore every page of a TIFF.

    A mask needs as many pages as its picture, or one page for all."""
    max_bytes: PositiveInt = 256 * 2**20
    """Largest encoded picture or mask that is read, in bytes."""
    max_pixels: int = Field(default=178_956_970, ge=1, le=178_956_970)
    """Largest picture or mask that is decoded, in pixels; the upper bound is Pillow's own."""

    @model_validator(mode="after")
    def _finds_what_a_row_can_tell(self) -> "ImagesConfig":
        if self.masks is not None and "overlay" in self.masks.find:
            raise ValueError("masks.find: an overlay shows in a corpus and not in a row; use `repaint-batch masks find` first")
        if self.masks is not None and self.hole != "white":
            raise ValueError("hole: masks that are found are white where damaged; leave it out")
        return self


class ComputeConfig(Model):
    shard_rows: PositiveInt = 64
    """Rows that are read together, and counted together in progress."""
    actors: PositiveInt | tuple[PositiveInt, PositiveInt] | None = None
    """Number of actors, each of which holds the prior: a number, or [least, most]. By default one for each GPU of the cluster,
    including nodes that join later, and without GPUs one for every two cores."""
    num_gpus: float | None = Field(default=None, ge=0)
    """GPUs of an actor; by default one if the cluster has any, otherwise none."""
    num_cpus: PositiveFloat | None = None
    """CPU cores of an actor; by default 1 with a GPU, and 0.75 without."""
    batch_windows: PositiveInt | Literal["auto"] = 16
    """Windows in one network call. A number keeps results the same on every device of one type, because rounding depends on it;
    if so many do not fit the device, the job ends with an error that says how many do. auto: every actor takes as many as its
    GPU holds (16 on a CPU), and half as many if memory runs out later; results then differ between devices by rounding."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the network. The sampler's state is always float32; on GPUs, float32 does not use TF32.

    auto: bfloat16 if actors take GPUs, else float32. This is decided when a job is planned, and kept in its plan; if num_gpus is
    not set, by whether the machine that plans has a GPU. On a CPU bfloat16 halves the time with AVX-512 BF16 or AMX, and costs
    time without them; `check` says what this machine has."""
    compile: bool = False
    """Compile the network. This pays for jobs of many minutes, and needs a C++ compiler on every node."""
    address: str | None = None
    """Ray cluster to join; by default the one in RAY_ADDRESS, otherwise a local one is started."""
    max_attempts: PositiveInt = 3
    """Attempts at the same rows. If their process died each time, they are split until the row at fault is found; if each attempt
    raised an error, the job ends with it."""
    max_failed: float = Field(default=0.9, ge=0, le=1)
    """Share of rows that may fail. A job in which more rows fail is stopped once 100 rows are done."""
    checkpoint_s: PositiveFloat = 60
    """Most seconds of sampling that are lost when an actor is killed."""
    log: Literal["quiet", "json"] = "quiet"
    """json: write what happens to shards and failed rows to Ray's logs on every node, one JSON object per line."""
    price_per_gpu_hour: PositiveFloat | None = None
    """Price of an actor per hour, in any currency, for `repaint-batch check`."""
    budget: PositiveFloat | None = None
    """Most that a job may cost, in the same currency; a job that would cost more is refused."""

    @property
    def most_actors(self) -> int:
        """Actors at most; 1 where that is left to the cluster."""
        return (self.actors[1] if isinstance(self.actors, tuple) else self.actors) or 1


def checked_endpoint(url: str) -> str:
    """Return the URL of a store if it is one.

    Raises:
        ValueError: it has no scheme, or another than http and https.
    """
    if not re.fullmatch(r"https?://[^/\s]\S*", url):
        raise ValueError("an endpoint is https://HOST or http://HOST:PORT, with its scheme")
    return url


class StorageConfig(Model):
    endpoint_url: str | None = None
    """S3 endpoint other than AWS's own."""
    region: str | None = None
    """S3 region."""
    allow: tuple[str, ...] = ()
    """Prefixes that rows may read from, besides the folder of the manifest."""
    patience_s: NonNegativeFloat = 600
    """Seconds to wait for an object store that does not answer, or that no longer accepts the credentials."""

    @field_validator("endpoint_url")
    @classmethod
    def _no_credentials(cls, value: str | None) -> str | None:
        if value is not None and "@" in value:
            raise ValueError("an endpoint must not carry credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        return value if value is None else checked_endpoint(value)


class JobConfig(Model):
    """One restoration job."""

    input: InputConfig
    output: OutputConfig
    prior: PriorConfig = PriorConfig()
    sampler: SamplerConfig = SamplerConfig()
    images: ImagesConfig = ImagesConfig()
    compute: ComputeConfig = ComputeConfig()
    storage: StorageConfig = StorageConfig()


ModelT = TypeVar("ModelT", bound=Model)


def load_config(path: str | Path, model: type[ModelT], settings: Sequence[str] = ()) -> ModelT:
    """Return the config in a YAML file.

    Args:
        path: the file.
        model: what it is a config of.
        settings: ``section.key=value``, each in place of what the file says there; the value is YAML.

    Raises:
        ConfigError: the file is missing, is not YAML, or says something that `model` does not know; one line a fault.
    """
    values, given = _read(path), [_assigned(setting) for setting in settings]
    for keys, value in given:
        if isinstance(values, dict):
            _put(values, keys, value)
    return parse_config(values, model, str(path), [keys for keys, _ in given])


def _read(path: str | Path) -> Any:
    """Return what a YAML file says."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path}: cannot read the config ({reason}); check the path") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}:{where} is not valid YAML: {getattr(error, 'problem', error)}") from error


def _assigned(setting: str) -> tuple[list[str], Any]:
    """Return the path of keys, and the value, of ``section.key=value``."""
    key, equals, text = setting.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {setting}: expected section.key=value, such as sampler.preset=draft")
    try:
        return key.split("."), yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {key}: {text!r} is not a YAML value; quote it") from error


def _put(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Put a value where a path of keys leads, through sections that are not there yet too."""
    for key in keys[:-1]:
        if not isinstance(values.get(key), dict):
            values[key] = {}
        values = values[key]
    values[keys[-1]] = value


def parse_config(values: Any, model: type[ModelT], where: str, given: Sequence[Sequence[str]] = ()) -> ModelT:
    """Return `values` as a validated `model`; `where` names their origin in errors, except of keys that --set has given."""
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: expected sections ({', '.join(model.model_fields)}); see `repaint-batch config`")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults: list[dict[str, Any]] = [dict(fault) for fault in error.errors()]
        lines = [f"{_origin(fault['loc'], where, given)}: {_fault_line(fault, model)}" for fault in faults]
        raise ConfigError("\n".join(lines)) from error


def _origin(path: tuple[Any, ...], where: str, given: Sequence[Sequence[str]]) -> str:
    """Return where the fault at a path of keys was said."""
    keys = [str(part) for part in path]
    return "--set" if any(keys[: len(one)] == list(one)[: len(keys)] for one in given) else where


def _fault_line(fault: dict[str, Any], model: type[Model]) -> str:
    key = ".".join(str(part) for part in fault["loc"]) or "config"
    if fault["type"] == "extra_forbidden":
        section: Any = model
        for part in fault["loc"][:-1]:
            annotation = section.model_fields[part].annotation if hasattr(section, "model_fields") else None
            section = annotation
        fields = getattr(section, "model_fields", {})
        known = f"; known keys: {', '.join(fields)}" if fields else ""
        if tuple(fault["loc"]) in RETIRED:
            return f"{key}: no longer a setting; it is always {RETIRED[fault['loc']].value}; remove it"
        return f"{key}: unknown key{known}{did_you_mean(fault['loc'][-1], fields)}"
    if fault["type"] in ("model_type", "model_attributes_type"):
        keys = _keys_of(model, fault["loc"])
        own = key.rpartition(".")[2]
        return f"{key}: expected a section{keys}; `{own}: {{}}` takes its defaults (got {fault['input']!r:.80})"
    if fault["type"] == "missing":
        return f"{key}: required; `repaint-batch config` explains it"
    words = re.findall(r"'([^']*)'", fault["ctx"]["expected"]) if fault["type"] == "literal_error" else ()
    hint = did_you_mean(fault["input"], words)
    return f"{key}: {fault['msg'].removeprefix('Value error, ')} (got {redact(repr(fault['input']))[:80]}){hint}"


def _keys_of(model: type[Model], path: tuple[Any, ...]) -> str:
    """Return in words the keys of the section at a path of settings."""
    section: Any = model
    for part in path:
        field = getattr(section, "model_fields", {}).get(part)
        kinds = () if field is None else (field.annotation, *get_args(field.annotation))
        section = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Model)), None)
    return f" with the keys {', '.join(section.model_fields)}" if section is not None else ""


class Retired(NamedTuple):
    """A setting that is none any more."""

    value: Any
    """That it always has now."""
    decides: bool
    """Whether results would be others with another value, so that its job cannot go on here."""


RETIRED = {
    ("images", "feather_px"): Retired(8, decides=True),
    ("images", "context"): Retired(0.125, decides=True),
    ("compute", "shard_deadline_s"): Retired(6 * 3600, decides=False),
}
"""Such settings, by section and key."""


def without_retired(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return a config as an earlier version wrote it, without the settings that are none any more.

    Raises:
        ConfigError: one of them has another value than it has now, so that results would differ.
    """
    kept = {section: dict(keys) if isinstance(keys, dict) else keys for section, keys in values.items()}
    for (section, key), (value, decides) in RETIRED.items():
        if kept.get(section, {}).pop(key, value) != value and decides:
            raise ConfigError(f"{where}: {section}.{key} is now always {value}; go on with the version that wrote it")
    return kept


def fingerprint(*parts: Any) -> str:
    """Return 16 hex digits that change when any of the JSON-serialisable `parts` does."""
    canonical = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.blake2b(canonical.encode(), digest_size=8).hexdigest()
