"""What all reports share: pages, plots, JSON."""
