"""Sending a build to AWS: what is there already, what has to go, and how it goes.

`run` composes it; a region is looked at, planned and carried out by itself, so that one that fails
stops no other. `aws` alone talks to boto3.
"""
