"""Published figures as data: `leaderboards/published/NAME.json`, one file per paper, read and checked here.

A figure is stored as printed (as text, so that 94.50 keeps its zero), with the rows it covers and its source.
"""

from evalkit.published.read import load_published, parse_published, published_dir, published_names, read_published
from evalkit.published.table import NOT_STATED, Figure, PublishedTable, Source, System, candidates, printed

__all__ = [
    "NOT_STATED",
    "Figure",
    "PublishedTable",
    "Source",
    "System",
    "candidates",
    "load_published",
    "parse_published",
    "printed",
    "published_dir",
    "published_names",
    "read_published",
]
