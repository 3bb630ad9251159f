"""DSC, NSD and IoU on images and volumes with labels: several bundles and what knows nothing, by every cut."""
