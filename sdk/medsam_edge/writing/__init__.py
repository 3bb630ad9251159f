"""From a label map to a file, whole or not at all."""
