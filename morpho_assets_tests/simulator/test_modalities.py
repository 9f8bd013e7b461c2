from __future__ import annotations

import numpy as np

from morpho_assets.simulator import SIZES
from morpho_assets.simulator.layout import compounds, plate_wells
from morpho_assets.simulator.modalities import ASSAYS, GENES, assay_table, expression

DEMO = SIZES["demo"]


def test_assays_follow_their_drivers_alone() -> None:
    library = compounds(DEMO, 0)
    table = assay_table(library, 0)
    assert set(table["assay"]) == set(ASSAYS)
    chance = {row["broad_sample"]: row["probability"] for row in table.filter(assay="count_only").to_dicts()}
    toxic = [chance[c.broad_sample] for c in library if c.mechanism == "toxic"]
    other = [chance[c.broad_sample] for c in library if c.mechanism != "toxic"]
    assert min(toxic) > 0.9
    assert max(other) < 0.2
    by_substituent: dict[str, set[float]] = {}
    for compound, row in zip(library, table.filter(assay="structure_only").to_dicts(), strict=True):
        by_substituent.setdefault(compound.substituent, set()).add(row["probability"])
    assert all(len(values) == 1 for values in by_substituent.values())
    assert len(set.union(*by_substituent.values())) == 2


def test_expression_sees_hidden_pathways_of_toxic_wells_and_nothing_of_controls() -> None:
    wells = plate_wells(DEMO, 0, 0)
    table = expression(DEMO, 0, 0, wells)
    genes = table.select(f"gene_{g:02d}" for g in range(GENES)).to_numpy()
    role = np.array([w.treatment.role for w in wells])
    toxic = np.array([w.treatment.compound is not None and w.treatment.compound.mechanism == "toxic" for w in wells])
    hidden = slice(GENES // 3, 2 * GENES // 3)
    assert np.abs(genes[role == "negcon"].mean(0)).max() < 1.2
    assert (
        np.abs(genes[toxic][:, hidden].mean(0)).mean() > 2 * np.abs(genes[role == "negcon"][:, hidden].mean(0)).mean()
    )
