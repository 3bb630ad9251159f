"""From images and methods to scores, means and intervals."""
