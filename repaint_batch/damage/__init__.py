"""Finding damage in pictures: a learned detector, scratches through whole frames, overlays of a corpus, missing edges."""
