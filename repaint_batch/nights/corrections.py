"""Decides which corrected masks a night uses.

A corrected mask goes on being used for as long as the bytes of its picture are those that it was drawn for, whatever it is that
makes the night run them again. A mask of the corpus that was changed since takes its place.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from repaint_batch.outputs.corrected import corrected_mask_uri
from repaint_batch.outputs.reviews import Decision, Reviews
from repaint_batch.storage import Storage

EARLIER = "corrected mask is for an earlier version of the picture"
OVERRULED = "mask of the corpus is newer than the corrected one"

Row = Mapping[str, Any]


class Corrections:
    """What reviews of an output have corrected.

    Args:
        output: folder or prefix of the output.
        storage: how to reach it.
    """

    def __init__(self, output: str, storage: Storage) -> None:
        self._output = output
        self._drawn: dict[str, list[Decision]] = defaultdict(list)
        for decision in Reviews(output, storage).latest().values():
            if decision.image_sha256 and decision.mask_sha256:
                self._drawn[decision.sample_id].append(decision)

    def __contains__(self, sample_id: object) -> bool:
        """Return whether a mask was ever corrected for a row, so that its picture must be read to tell whether it holds."""
        return sample_id in self._drawn

    def mask_for(self, listed: Row, known: Row | None, image: bytes) -> tuple[str | None, str | None]:
        """Return the URI of the corrected mask that a picture is run with; or None, and why none that was drawn holds.

        Args:
            listed: the pair, with its identities; `mask` is None where masks are found.
            known: its row in the results: mask_uri, mask_identity, output_sha256, attempt; None if there is none.
            image: the picture, encoded.
        """
        drawn = [decision for decision in self._drawn.get(listed["sample_id"], []) if self._is_asked_for(decision, listed, known)]
        if not drawn:
            return None, None
        if known is not None and known["mask_identity"] != listed["mask_identity"]:
            return None, OVERRULED
        digest = hashlib.sha256(image).hexdigest()
        uris = [self._uri(decision) for decision in drawn if decision.image_sha256 == digest]
        return (uris[-1], None) if uris else (None, EARLIER)

    def _is_asked_for(self, decision: Decision, listed: Row, known: Row | None) -> bool:
        """Return whether a corrected mask is still wanted: against a mask of the corpus, if its row has it or waits for it."""
        if listed["mask"] is None:
            return True
        return known is not None and (known["mask_uri"] == self._uri(decision) or decision.holds_for(dict(known)))

    def _uri(self, decision: Decision) -> str:
        assert decision.image_sha256 is not None, "such decisions alone are kept"
        assert decision.mask_sha256 is not None, "such decisions alone are kept"
        return corrected_mask_uri(self._output, decision.image_sha256, decision.mask_sha256)
