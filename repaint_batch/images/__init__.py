"""Photographs as their owners keep them: codec, masks, windows."""
