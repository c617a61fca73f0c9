"""``python -m repaint_batch``: the command line."""

from repaint_batch.cli import main

if __name__ == "__main__":
    main()
