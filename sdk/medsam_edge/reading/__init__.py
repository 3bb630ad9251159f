"""From a file to a `LoadedImage`."""
