"""Independent implementations that the recipes' answers are checked against: numpy alone."""
