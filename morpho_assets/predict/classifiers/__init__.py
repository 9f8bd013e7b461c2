"""The classifiers, one module each: a config model, `fit` to arrays, and `log_probabilities` from them."""
