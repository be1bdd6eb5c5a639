"""The command line: a file a command; each parses, calls the pipeline, renders, returns a code."""
