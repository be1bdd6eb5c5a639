"""A build as other tools deploy it: one module a tool, each a function from a value to a text."""
