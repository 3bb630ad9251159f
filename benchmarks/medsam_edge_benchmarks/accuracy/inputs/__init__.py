"""Images and volumes with labels, and the boxes around their objects."""
