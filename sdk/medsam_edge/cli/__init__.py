"""The `medsam-edge` command."""
