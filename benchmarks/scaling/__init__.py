"""The scaling policy beside its peers, on the same simulated calls: `python -m benchmarks.scaling`."""
