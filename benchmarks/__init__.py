"""Measurements of paradigm beside its rivals: `python -m benchmarks`. See README.md."""
