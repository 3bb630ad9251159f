"""Encoder and decoder by themselves: time per variant, cost per node."""
