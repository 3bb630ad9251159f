"""The `medsam-edge train` command: stages, presets and recipes."""
