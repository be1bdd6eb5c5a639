"""What the differential runs: checks for stacks, in the interpreter of a tree of packages."""
