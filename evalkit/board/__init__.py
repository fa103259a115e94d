"""Leaderboards: tables and a page that are a pure function of the figures of papers and the results of runs."""

from evalkit.board.files import add, check, rebuild, render
from evalkit.board.regime import standing

__all__ = ["add", "check", "rebuild", "render", "standing"]
