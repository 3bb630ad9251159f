"""Turns labelled images and volumes into shards of 2D training images; `prepare.py` is the main path."""
