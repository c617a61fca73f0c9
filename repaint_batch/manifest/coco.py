"""COCO's annotations of many pictures, one mask each: all that is annotated in a picture is its hole."""

import json
from collections import defaultdict
from typing import Any

from repaint_batch.errors import ManifestError
from repaint_batch.storage import Storage

_KEPT = ("segmentation", "bbox")


def read_coco(uri: str, storage: Storage) -> dict[str, bytes]:
    """Return, by the names of their files, the masks of all pictures that a COCO file annotates; it is held in memory.

    Raises:
        ManifestError: it is none, or names a picture twice.
        SourceMissing: it is not there.
    """
    try:
        document = json.loads(storage.read(uri))
        pictures, annotations = document["images"], document["annotations"]
        by_id: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for annotation in annotations:
            by_id[annotation["image_id"]].append({name: annotation[name] for name in _KEPT if annotation.get(name)})
        masks, bare = {}, set[str]()
        for picture in pictures:
            name = picture["file_name"]
            if name in masks or name in bare:
                raise ManifestError(f"{uri}: names {name!r} twice; give every picture one entry")
            found = by_id.pop(picture["id"], [])
            if found:
                size = {side: picture[side] for side in ("width", "height") if side in picture}
                masks[name] = json.dumps({"images": [size] if len(size) == 2 else [], "annotations": found}).encode()
            else:
                bare.add(name)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ManifestError(f"{uri}: is not a COCO file of images and annotations ({error!r:.100}); check --masks") from error
    if by_id:
        raise ManifestError(f"{uri}: {len(by_id)} annotated pictures are not among its images, such as id {next(iter(by_id))!r}")
    return masks
