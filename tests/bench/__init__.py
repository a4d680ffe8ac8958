"""Measurements as ratios against floors of the same run; never timed tests."""
