"""Reports of finished runs: leaderboards, run pages, reproductions of papers, exports."""
