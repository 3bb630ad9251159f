"""From a checkpoint to a model bundle: `convert.py` is the main path."""
