"""The verbs of the command line, by what they are for. With `pipelines/cli.py` the only place that prints."""
