"""What is learned from labels, and applied: labels, splits, models, phenotypes and where they are enriched."""
