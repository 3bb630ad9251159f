"""Read a file into a `LoadedImage`."""
