"""Nights: an image corpus that changes, and an output that follows it.

A night lists the corpus and holds what it finds against the results table, which remembers of every row what its picture
and mask were and what was asked for. Only what differs runs. `corpus` says what that is, `night` goes through with it.

::

    OUTPUT/nights/STAMP/manifest.parquet   what that night ran
    OUTPUT/nights/STAMP/removed.parquet    rows that it took out, since their pictures are deleted
    OUTPUT/nights/STAMP/summary.json       what became of it
"""
