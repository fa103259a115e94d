"""The page of a run: one HTML file that opens from disk, with every number, slice, sample and image."""

from evalkit.reports.run_page.data import Difference, page_data
from evalkit.reports.run_page.page import write_page

__all__ = ["Difference", "page_data", "write_page"]
