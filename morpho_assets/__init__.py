"""Cell Painting plates to masks, single cells, well profiles, embeddings and an honest evaluation."""

__version__ = "0.1.0"
