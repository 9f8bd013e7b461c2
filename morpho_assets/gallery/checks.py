"""What must hold of a plate's manifest and of its sites before its numbers are believed. Each names what offends."""

from __future__ import annotations

from typing import Any

import polars as pl

from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Verdict
from morpho_assets.lake.verdicts import few, warning


def few_failed_sites(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """The share of sites that failed so far is under the settings' `failed_sites`; else the plate stops here."""
    failed: dict[str, str] = {}
    for (_, partition), commit in inputs.commits.items():
        if partition.key == plate:
            failed |= commit.sites.failed
    sites = inputs.read("sites", plate).select("Metadata_Well", "Metadata_Site").n_unique()
    share, limit = len(failed) / max(sites, 1), settings.failed_sites
    text = f"{len(failed)} of {sites} sites failed (limit {limit:.0%}); table site_failures says why"
    if share > limit:
        first = inputs.read("site_failures", plate).row(0, named=True)
        todo = "Restore the images, or raise failed_sites in the settings."
        text += f". The first: {first['path']} {first['error']}. {todo}"
    facts = {"failed sites": len(failed), "sites": sites, "share": share, "which": few(sorted(failed)) or "none"}
    return Verdict(check="few_failed_sites", passed=share <= limit, text=text, blocking=True, facts=facts)


def controls_present(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """The plate has imaged negative control wells, at least two, better a dozen: all is measured against them."""
    controls = inputs.read("wells", plate).filter(Metadata_control_type="negcon")
    imaged = inputs.read("sites", plate)["Metadata_Well"].unique()
    if len(imaged):  # a plate that was measured elsewhere has no images
        controls = controls.filter(pl.col("Metadata_Well").is_in(imaged.to_list()))
    names = controls["Metadata_Well"].to_list()
    text = f"{len(names)} imaged negative control wells"
    facts = {"negative control wells": ", ".join(names) or "none"}
    return Verdict(check="controls_present", passed=len(names) >= 2, text=text, facts=facts)


def wells_imaged_and_described(inputs: Snapshot, plate: str, settings: Any) -> Verdict:
    """Every well of the platemap that is not empty has images, and the metadata describes every treatment."""
    wells = inputs.read("wells", plate)
    imaged = inputs.read("sites", plate)["Metadata_Well"].unique().to_list()
    wanted = wells.filter(pl.col("Metadata_pert_type") != "empty", bool(imaged))  # none: measured elsewhere
    absent = wanted.filter(~pl.col("Metadata_Well").is_in(imaged))["Metadata_Well"].to_list()
    unknown = wells.filter(~pl.col("described"))["Metadata_Perturbation"].unique(maintain_order=True).to_list()
    faults = []
    if absent:
        todo = "fetch their load_data, or take them out of the platemap"
        faults.append(f"{len(absent)} of {wanted.height} wells of the platemap have no images: {few(absent)}; {todo}")
    if unknown:
        todo = "without a row there they have neither target nor mechanism"
        faults.append(f"the metadata does not describe the treatments {few(unknown)}; {todo}")
    return warning("wells_imaged_and_described", faults, "every well has images, every treatment is described")
