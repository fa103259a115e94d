"""The files of a run: types, readers, writers, older versions."""
