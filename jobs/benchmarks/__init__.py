"""What jobs/benchmark.py measures: one module a benchmark, each with a function `measure`."""
