"""The engine: shards of a plan through Ray Data and into the results table.

One shard is one block from end to end: a read task cuts it from the manifest, `stages.decode` turns bytes into windows,
an actor restores them, `stages.encode` turns them back, and a write task commits it. Stages are plain functions over one
Arrow table; `dataset` wires them, `run` decides what is pending and goes round until nothing is.
"""
