"""layerpack: machine-learning stacks as AWS Lambda layers that fit, with nothing lost."""

__version__ = "0.1.0"
