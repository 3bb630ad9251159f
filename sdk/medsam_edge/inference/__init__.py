"""From an image and boxes to masks: embedding, decoding, and the way through a volume."""
