"""Labelled images of many kinds → shards of 2D training images: `prepare.py` is the main path."""
