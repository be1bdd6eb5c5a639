"""`python -m layerpack`."""

from layerpack.cli.main import run

if __name__ == "__main__":
    run()
