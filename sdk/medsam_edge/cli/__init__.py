"""The `medsam-edge` command: its options, and what it prints."""
