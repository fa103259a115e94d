"""The page of a run: one HTML file that opens from disk, with every number, slice, sample and image."""

from evalkit.reports.run_page.data import page_data
from evalkit.reports.run_page.differences import Differences, paired_differences
from evalkit.reports.run_page.page import write_page

__all__ = ["Differences", "page_data", "paired_differences", "write_page"]
