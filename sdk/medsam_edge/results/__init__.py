"""What a caller gets: masks, results, overlays."""
