"""Leaderboards: tables and a page that are a pure function of the figures of papers and the results of runs."""

from evalkit.reports.leaderboard.folder import add, check, rebuild, render
from evalkit.reports.leaderboard.regime import standing

__all__ = ["add", "check", "rebuild", "render", "standing"]
