"""nnInteractive's protocol, so that its clients (napari, 3D Slicer) segment with this project's networks."""
