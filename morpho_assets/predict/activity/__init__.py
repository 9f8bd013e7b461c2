"""Activity: what structure, morphology and expression predict of assays, alone and together."""
