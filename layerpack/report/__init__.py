"""What a build weighs and why: models that are pure, and one renderer a format."""
