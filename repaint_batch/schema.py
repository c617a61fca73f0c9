"""Arrow schemas of what goes in and what comes out."""

import pyarrow as pa

MANIFEST_REQUIRED = ("sample_id", "image", "mask")
"""Columns every manifest has; `seed` is optional, all others pass through to the results."""

IMAGE_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""The Hugging Face image struct, accepted in place of a URI."""

RESULTS = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # ok | skipped | failed
        pa.field("error_class", pa.string()),  # name of a class in repaint_batch.errors
        pa.field("reason", pa.string()),  # why a row was skipped or failed, for people
        pa.field("image_uri", pa.string()),  # where the picture came from; null if it was in the manifest
        pa.field("mask_uri", pa.string()),
        pa.field("output", pa.binary()),  # restored picture, encoded; null if output_uri is set or the row failed
        pa.field("output_uri", pa.string()),
        pa.field("output_offset", pa.int64()),  # where its bytes start in a tar at output_uri; null if that is the picture
        pa.field("output_sha256", pa.string()),
        pa.field("output_bytes", pa.int64()),
        pa.field("output_format", pa.string()),  # Pillow's name: PNG, JPEG, WEBP, ...
        pa.field("width_px", pa.int32()),
        pa.field("height_px", pa.int32()),
        pa.field("hole_fraction", pa.float64()),  # unknown pixels / all pixels
        pa.field("windows", pa.int32()),  # prior-sized windows sampled
        pa.field("nfe", pa.int64()),  # network evaluations spent on the row: windows x candidates x NFE of the sampler
        pa.field("known_pixels_equal", pa.bool_()),  # every pixel outside the hole equals the source's
        pa.field("largest_known_difference", pa.float64()),  # outside the hole, once re-encoded; in steps of its depth
        pa.field("dropped", pa.list_(pa.string())),  # what the source held beside its pixels and the result does not
        pa.field("seam_score", pa.float64()),  # gradient across the hole's rim over that inside; 1 = no seam
        pa.field("risk", pa.float32()),  # share of restorations that err less, as far as can be told, see `images.risk`; 0 .. 1
        pa.field("risk_reason", pa.string()),  # what speaks for an error, from a risk of 0.7 on, see `images.risk`
        pa.field("seed", pa.int64()),  # that the picture was made with; of several candidates, the kept one's
        pa.field("prior_fingerprint", pa.string()),
        pa.field("sampler_fingerprint", pa.string()),
        pa.field("work_key", pa.string()),  # hash of all that decides the result
        pa.field("decode_s", pa.float64()),
        pa.field("inpaint_s", pa.float64()),  # the row's share of its actor's network calls
        pa.field("encode_s", pa.float64()),
        pa.field("worker", pa.string()),  # node and process that sampled it
        pa.field("job_id", pa.string(), nullable=False),
        pa.field("shard", pa.int64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),  # of the job's manifest, counted from 0
        pa.field("attempt", pa.string(), nullable=False),
        pa.field("finished_at", pa.timestamp("us", tz="UTC")),
    ]
)
"""Columns of the results table, in order; those that a manifest brings along come after them."""

RISK = ("risk", "risk_reason")
"""Columns that tables of an earlier edition lack and that are read as null there."""

REVIEWS = pa.schema(
    [
        pa.field("sample_id", pa.string(), nullable=False),
        pa.field("output_sha256", pa.string(), nullable=False),  # of the picture that was looked at
        pa.field("attempt", pa.string(), nullable=False),  # that made it
        pa.field("verdict", pa.string(), nullable=False),  # accept | reject | redo | undecided
        pa.field("preset", pa.string()),  # of a redo
        pa.field("seed", pa.int64()),
        pa.field("image_sha256", pa.string()),  # of a redo: of the source, as the reviewer saw it
        pa.field("mask_sha256", pa.string()),  # of a corrected mask, see `outputs.corrected`
        pa.field("reviewer", pa.string()),  # name of the user who decided
        pa.field("decided_at", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)
"""Columns of the table of decisions; the newest row about a picture counts."""


def passthrough(manifest: pa.Schema) -> list[pa.Field]:
    """Return the manifest's columns that results carry unchanged."""
    known = {*MANIFEST_REQUIRED, "seed"}
    return [field for field in manifest if field.name not in known]
