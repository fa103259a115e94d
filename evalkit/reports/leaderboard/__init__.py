"""Leaderboards: tables and a page that are a pure function of published figures and of the results of runs."""

from evalkit.reports.leaderboard.exposure import TrainingExposure, training_exposure
from evalkit.reports.leaderboard.folder import add, check, check_task_name, rebuild, render

__all__ = ["TrainingExposure", "add", "check", "check_task_name", "rebuild", "render", "training_exposure"]
