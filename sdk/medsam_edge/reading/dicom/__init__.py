"""DICOM images and series."""
