"""Facts from papers as data: `leaderboards/published/NAME.json`, one file a paper, read and checked here.

A figure stands as it is printed (a text, so that 94.50 keeps its zero), with what it is over and where it was read.
"""

from evalkit.published.read import load_published, parse_published, published_dir, published_names, read_published
from evalkit.published.table import Figure, PublishedTable, Source, System, candidates, printed

__all__ = [
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
