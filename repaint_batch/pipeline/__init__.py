"""The engine: shards of a plan through Ray Data and into the results table.

A read task cuts a shard from the manifest, and `stages.decode` turns its bytes into windows, parcel by parcel. An actor restores
them, `stages.encode` turns them back, and a write task stages a parcel of rows for the committer. Stages are plain functions over
one Arrow table; `guarding` makes their errors a row's; `dataset` wires them; `passes` goes round until nothing is pending.
"""
