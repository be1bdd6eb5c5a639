"""What several tests build with: wheels, an index, libraries, recipes, the command."""
