"""The page of a run: one HTML file that opens from disk, with every number, slice, sample and image."""

from evalkit.report.data import page_data
from evalkit.report.page import write_page

__all__ = ["page_data", "write_page"]
