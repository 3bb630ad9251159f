"""Synthetic medical images with known outlines, for demos, tests and benchmarks without anybody's data."""

from medsam_edge.phantom.draw import MIN_DEPTH, MIN_PIXELS, MIN_SIDE, Phantom, phantom, phantom_volume

__all__ = ["MIN_DEPTH", "MIN_PIXELS", "MIN_SIDE", "Phantom", "phantom", "phantom_volume"]
