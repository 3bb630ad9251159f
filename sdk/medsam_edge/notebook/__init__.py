"""Boxes drawn in a notebook: the extra `notebook`."""

try:
    from medsam_edge.notebook.widget import BoxDrawing, draw
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"medsam_edge.notebook needs {error.name}, which is not installed: pip install 'medsam-edge[notebook]'",
        name=error.name,
    ) from error

__all__ = ["BoxDrawing", "draw"]
