"""What other experiments saw of the same compounds: assays, and an expression-like profile of every well."""

from __future__ import annotations

import numpy as np
import polars as pl

from morpho_assets.simulator.biology import MECHANISMS, NAMES, Compound
from morpho_assets.simulator.design import GalleryDesign, generator
from morpho_assets.simulator.layout import Well

# What drives each assay: the parameters whose absolute effects are summed, at a saturating dose.
ASSAYS: dict[str, tuple[str, ...]] = {
    "count_only": ("viability",),
    "structure_only": (),
    "secretion": ("er_intensity", "golgi_dispersal"),
    "respiration": ("mito_fragmentation",),
    "cytoskeleton": ("actin_fibres", "cell_area", "nuclear_eccentricity"),
    "nucleus": ("nuclear_area", "chromatin_texture", "nucleoli", "binucleation"),
    "proliferation": ("viability", "mitotic_arrest", "binucleation"),
}
GENES = 48  # the first third follows morphology, the second what images cannot show, the last is noise
HIDDEN = 4


def assay_table(compounds: list[Compound], seed: int) -> pl.DataFrame:
    """One row per compound and assay: `probability` of a hit (logistic in its drivers), and `hit` drawn from it.

    `structure_only` depends on the substituent alone: one with nitrogen or a halogen hits, whatever the scaffold, so
    that a split by scaffold can be learned through. A screen of hundreds of compounds is in `simulator/screen.py`.
    """
    rows = []
    for a, (assay, drivers) in enumerate(ASSAYS.items()):
        rng = generator(seed, "assay", a)
        for compound in compounds:
            if drivers:
                # Half the assays' compounds hit at 1.2 (0.7 for counts, which are logs), where the logistic is 1/2.
                pull = sum(abs(compound.effect[NAMES.index(name)]) for name in drivers)
                odds = 5 * (pull - (0.7 if assay == "count_only" else 1.2))
            else:
                odds = 4.0 if set(compound.substituent) & set("NFl") else -4.0
            probability = 1 / (1 + np.exp(-odds))
            rows.append((compound.broad_sample, assay, probability, bool(rng.random() < probability)))
    return pl.DataFrame(rows, schema=["broad_sample", "assay", "probability", "hit"], orient="row")


def expression(design: GalleryDesign, seed: int, plate: int, wells: list[Well]) -> pl.DataFrame:
    """One row per well: 48 genes in units of their noise. Hidden pathways belong to mechanisms but leave no image."""
    third = GENES // 3
    loading = generator(seed, "expression", 0).normal(size=(len(NAMES), third)) / np.sqrt(len(NAMES))
    hidden_loading = generator(seed, "expression", 1).normal(size=(HIDDEN, third)) / np.sqrt(HIDDEN)
    mechanisms = [*MECHANISMS, "inactive"]
    pathways = {m: generator(seed, "expression", 2, i).normal(size=HIDDEN) * 2.5 for i, m in enumerate(mechanisms)}
    noise = generator(seed, "expression", 3, plate).normal(size=(len(wells), GENES))
    for w, well in enumerate(wells):
        compound = well.treatment.compound
        if compound is None or compound.mechanism == "inactive":
            continue
        response = compound.response(well.treatment.dose) * design.effect_strength
        noise[w, :third] += well.treatment.effect @ loading
        noise[w, third : 2 * third] += response * pathways[compound.mechanism] @ hidden_loading
    keys = {
        "Metadata_Plate": [design.barcode(plate)] * len(wells),
        "Metadata_Well": [well.name for well in wells],
        "treatment": [well.treatment.name for well in wells],
    }
    return pl.DataFrame(keys | {f"gene_{g:02d}": noise[:, g] for g in range(GENES)})
