"""What must hold of a plate's single cells before its numbers are believed."""

from __future__ import annotations

from typing import Any

from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Verdict
from morpho_assets.lake.verdicts import warning
from morpho_assets.measure.stains import nuclear_channel, nuclear_contrast, stain_fault


def nuclear_stain_in_nuclei(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """The channel on which nuclei were found is the one that shines in them: no other took its place."""
    quality = inputs.read("image_quality", plate) if inputs.has("image_quality", plate) else None
    contrast = {} if quality is None else nuclear_contrast(inputs.scan("single_cells", [plate]), quality)
    fault = stain_fault(contrast, nuclear_channel(settings.segmentation, list(contrast)))
    figures = ", ".join(f"{channel} {value:.2f}" for channel, value in contrast.items()) or "not measured"
    good = f"brightness in nuclei over cytoplasm: {figures}"
    return warning("nuclear_stain_in_nuclei", [fault] if fault else [], good)
