"""What has to be seen on a GPU: checks that must hold and figures worth knowing, in one command of at most six minutes.

    python -m tests.gpu --output gpu-proof

writes `results.jsonl` (one line a finding, as they come), `table.md` and `profile.txt`. Parts run in order of worth; each has a
time limit, and one that fails is recorded and the next goes on. `--device cpu --tiny` rehearses all of it without a GPU.

It needs torch (2.11 to 2.13), numpy, pyarrow, pillow, PyYAML, safetensors, fsspec and huggingface-hub, and beside those the
wheels of diffusers, importlib-metadata, pydantic, pydantic-core, annotated-types and typing-inspection. What needs Ray, deltalake
and s3fs runs where they are, and says so where not. `pytest -m gpu` runs the checks alone, as tests.
"""
