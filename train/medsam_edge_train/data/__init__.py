"""Training images with masks: found, read, drawn and augmented."""
