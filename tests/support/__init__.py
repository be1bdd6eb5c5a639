"""What several tests build with: wheels, a package index, shared libraries, recipes, the command."""
