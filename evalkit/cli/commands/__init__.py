"""Verbs of the command line, one module each; `evalkit.cli.verbs` finds them.

A verb is `commands/NAME.py` with a function `main(config) -> exit code`, and its settings in `conf/NAME.yaml`.  The
first line of the module's docstring is its line in `--help`.  A module without a YAML gets the words of the command
line instead of a configuration.
"""
