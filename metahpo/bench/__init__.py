"""Benchmarks: tuners side by side on the same tasks, seeds, budgets and evaluations."""
