"""The evidence about a run in one folder: page, software, checklists, exports, and a hash chain over all files."""
