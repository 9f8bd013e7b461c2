"""A synthetic gallery with known truth: plates in the Cell Painting Gallery's layout, drawn by a simulator.

`write_gallery` writes one; `GalleryDesign` says what is in it, `SIZES` holds three designs by name.
"""

from morpho_assets.simulator.design import SIZES, GalleryDesign, Technique
from morpho_assets.simulator.files import write_gallery

__all__ = ["SIZES", "GalleryDesign", "Technique", "write_gallery"]
