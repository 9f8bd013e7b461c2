"""What treatments are called on a page: name and dose, so that two doses of one compound are never mistaken."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import polars as pl

from morpho_assets.gallery.treatments import DOSE_COLUMNS
from morpho_assets.report.page import number

NAMES = ("Metadata_pert_iname", "Metadata_gene", "Metadata_Gene_Symbol", "Metadata_symbol")
TARGETS = ("Metadata_target", "Metadata_target_list", "Metadata_moa", "Metadata_gene")
STRUCTURES = ("Metadata_smiles", "Metadata_SMILES", "Metadata_canonical_smiles", "Metadata_Smiles")
_UNITS = {"dose_uM": "µM", "concentration_uM": "µM", "mmoles_per_liter": "mmol/L"}
_OF_WELLS = ("Plate", "Well", "Row", "Col", "Source", "Batch", "Perturbation", "normalized_on")


@dataclass(frozen=True)
class Treatment:
    """One treatment: its key in the tables, its label with the dose, and what the annotation says of it.

    `compound` is what its doses share, as potencies name it; `dose` is None where none is given.
    """

    key: str
    label: str
    compound: str
    dose: float | None = None
    unit: str = ""
    control: bool = False
    smiles: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def targets(self) -> str:
        """Its targets and mechanism, each once."""
        given = [self.facts[name.removeprefix("Metadata_")] for name in TARGETS if name[9:] in self.facts]
        return ", ".join(dict.fromkeys(part for text in given for part in text.split("|")))


def treatments_of(wells: pl.DataFrame) -> dict[str, Treatment]:
    """The treatments of wells by their key, in its order.

    `wells` has the Metadata columns of the profiles; of each the first value that is not null counts. Wells without a
    treatment are none. Two treatments of one name and dose have their key in brackets.
    """
    notes = [name for name in wells.columns if name.startswith("Metadata_")]
    notes = [name for name in notes if name[9:] not in _OF_WELLS and not name.startswith("Metadata_Count_")]
    named = wells.drop_nulls("Metadata_Perturbation").group_by("Metadata_Perturbation").agg(
        pl.col(notes).drop_nulls().first()
    ).sort("Metadata_Perturbation")  # fmt: skip
    found = {str(row["Metadata_Perturbation"]): _treatment(row) for row in named.iter_rows(named=True)}
    times = Counter(each.label for each in found.values())
    return {
        key: each if times[each.label] == 1 else Treatment(**{**vars(each), "label": f"{each.label} ({key})"})
        for key, each in found.items()
    }


def labels(treatments: Mapping[str, Treatment], keys: Iterable[str]) -> list[str]:
    """The labels of treatments; what is no treatment (a target, a compound over its doses) is called as it is."""
    return [treatments[key].label if key in treatments else key for key in keys]


def with_labels(frame: pl.DataFrame, treatments: Mapping[str, Treatment], column: str = "treatment") -> pl.DataFrame:
    """The frame with a first column `name`: the label of each treatment, where any has one of its own."""
    names = labels(treatments, frame[column].to_list())
    if names == frame[column].to_list():
        return frame
    return frame.select(pl.Series("name", names, pl.String), pl.all())


def _treatment(row: Mapping[str, object]) -> Treatment:
    key = str(row["Metadata_Perturbation"])
    given = {name: str(value) for name, value in row.items() if value is not None and str(value)}
    name = next((given[each] for each in NAMES if each in given), key.partition("@")[0])
    column = next((each for each in DOSE_COLUMNS if f"Metadata_{each}" in given), None)
    dose = _number(given.get(f"Metadata_{column}")) if column else None
    unit = _UNITS.get(column or "", "")
    label = name if dose is None else f"{name}, {number(dose, 2)} {unit}".strip()
    structure = next((given[each] for each in STRUCTURES if each in given), "")
    facts = {name[9:]: value for name, value in given.items() if name != "Metadata_Perturbation"}
    control = given.get("Metadata_control_type") == "negcon"
    return Treatment(key, label, key.partition("@")[0], dose, unit, control, structure, facts)


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:
        return None
