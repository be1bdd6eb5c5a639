"""A Lambda on this machine: a build's function, run as Lambda runs it, by AWS's own client."""
