"""The viewer: pages over a folder of runs, served on this machine or written as static files (docs/view.md)."""

from evalkit.reports.viewer.run_list import RunList
from evalkit.reports.viewer.site import Site, Source
from evalkit.reports.viewer.static import write_site

__all__ = ["RunList", "Site", "Source", "write_site"]
