"""Planning an experiment: how often the platform finds an effect of a given size, by the design of the plates."""
