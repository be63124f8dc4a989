"""From volumes to fixed 2-D views: pictures for people (`render_views`) and arrays for the CNN."""

from inference.projections.network_input import RENDER_VERSION

from .canvas import SIZE, THUMBNAIL
from .views import REMOVED_VIEWS, SLICE_VIEWS, SURFACE_VIEWS, render_views, save_views

VIEW_NAMES = (*SURFACE_VIEWS, "edge", *SLICE_VIEWS)

__all__ = [
    "REMOVED_VIEWS",
    "RENDER_VERSION",
    "SIZE",
    "SLICE_VIEWS",
    "SURFACE_VIEWS",
    "THUMBNAIL",
    "VIEW_NAMES",
    "render_views",
    "save_views",
]
