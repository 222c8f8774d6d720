"""What `tools/benchmark.py` measures, a module for each group of measurements."""
