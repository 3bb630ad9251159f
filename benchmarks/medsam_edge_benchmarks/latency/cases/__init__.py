"""The papers' cases, drawn as phantoms."""
