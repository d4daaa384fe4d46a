"""What Tenuto costs: `make bench` = `python -m benchmarks`. Method and results: docs/benchmarks.md.

Each measure is a module of `measures/`; `work.py` is the work they all do, `stage.py` the processes they do it with.
"""
