"""Benchmarks on disk: a manifest from which every sample can be rebuilt."""
