"""What all reports share: page templates, plots, JSON."""
