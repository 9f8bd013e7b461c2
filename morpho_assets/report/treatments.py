"""The pages of treatments: everything that is known of each, as the data from which the page draws it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from morpho_assets.evaluate.similarity import similarity_blocks
from morpho_assets.lake.lake import Snapshot
from morpho_assets.predict.predictions import FINAL
from morpho_assets.profiles.features import to_matrix
from morpho_assets.profiles.study import SHUFFLED, space_features
from morpho_assets.report.moved import Moved, words
from morpho_assets.report.names import Treatment
from morpho_assets.report.page import number, rounded
from morpho_assets.report.results import Results
from morpho_assets.report.structure import structure

NEAREST = 10
_FACTS = {
    "pert_iname": "name", "broad_sample": "sample", "pert_type": "type", "control_type": "control",
    "target_list": "targets", "moa": "mechanism", "InChIKey": "InChIKey", "smiles": "SMILES",
}  # fmt: skip


def index_of(results: Results) -> list[dict[str, str]]:
    """What search finds: of each treatment its label `l`, key `i`, targets `t`, all text `s`, and its kind `k` where it
    is no treatment of the usual kind."""
    entries = []
    for each in results.named.values():
        text = " ".join([each.label, each.key, *each.facts.values()]).lower()
        entry = {"l": each.label, "i": each.key, "t": each.targets, "s": text}
        kind = each.facts.get("control_type", "")
        entries.append(entry | ({"k": "control" if each.control else "positive"} if kind else {}))
    return entries


def treatment_pages(
    inputs: Snapshot, results: Results, wells: pl.DataFrame, moved: Moved, montages: pl.DataFrame
) -> dict[str, Any]:
    """The record of each treatment by its id on the page (t0, t1, …), of its compound's doses (d0, …), and of each
    plate's controls (c-PLATE). `wells` are `ordered_wells`."""
    study = results.study.name
    keys = list(results.named)
    near = _nearest(inputs, results)
    doses = _doses(inputs, results)
    number_of = {compound: at for at, compound in enumerate(doses)}
    numbered = wells.with_row_index("number")
    mine = {str(key): frame for (key,), frame in numbered.group_by("Metadata_Perturbation", maintain_order=True)}
    what = _what_happened(inputs, sorted(set(wells["Metadata_Plate"])))
    spaces = results.treatments.filter(~pl.col("variant").str.ends_with(SHUFFLED))
    by_treatment = {str(key): rows for (key,), rows in spaces.group_by("treatment", maintain_order=True)}
    calls = inputs.read("phenotype_calls", study) if results.study.phenotypes else None
    called = {} if calls is None else {
        str(key): rows for (key,), rows in calls.filter(predicted_by=FINAL).group_by("treatment", maintain_order=True)
    }  # fmt: skip
    controls = {key for key, each in results.named.items() if each.control}
    shots = {str(key): rows for (key,), rows in montages.group_by("treatment", maintain_order=True)}
    records: dict[str, Any] = {}
    structures: dict[str, Any] = {}
    hits = results.hits(results.main)
    for at, key in enumerate(keys):
        treatment = results.named[key]
        if treatment.smiles not in structures:
            structures[treatment.smiles] = structure(treatment.smiles)
        most = moved.most(key)
        own = mine[key]
        pictures = [_shot(row, key in controls) for row in shots[key].iter_rows(named=True)] if key in shots else []
        dose = number_of.get(treatment.compound)
        records[f"t{at}"] = {
            "answer": _answer(results, treatment, by_treatment.get(key), own, most),
            "facts": [[_FACTS.get(name, name.replace("_", " ")), value] for name, value in _facts(treatment)],
            "structure": structures[treatment.smiles],
            "noStructure": "No structure: the metadata gives no SMILES." if not treatment.smiles else
            "No structure: rdkit is not installed, or cannot read the SMILES.",
            "cells": pictures[:1] if key in controls else pictures,
            "said": [told.said(mean) for name, mean, _ in most[:5] if (told := words(name)) and abs(mean) >= 1],
            "moved": [_moved_row(*each) for each in most],
            "wells": own["number"].to_list(),
            "notes": [_well_row(row, what) for row in own.iter_rows(named=True)],
            "spaces": _space_rows(by_treatment.get(key)),
            "dose": None if dose is None else {"of": dose, "label": treatment.label},
            "near": [[results.named[other].label, rounded(cosine), results.named[other].targets,
                      "yes" if other in hits else "no"] for other, cosine in near.get(key, ([], ""))[0]],
            "nearCaption": near.get(key, ([], ""))[1],
            "phenotypes": _phenotype_rows(called.get(key)),
        }  # fmt: skip
    records |= {f"d{number_of[compound]}": dose for compound, dose in doses.items()}
    plates = {str(row["Metadata_Plate"]): row for row in montages.iter_rows(named=True) if row["treatment"] in controls}
    return records | {f"c-{plate}": _shot(row, True) for plate, row in plates.items()}


def _facts(treatment: Treatment) -> list[tuple[str, str]]:
    """Name, id and targets first; then all else that the annotation says, but doses, which the label has."""
    first = ["pert_iname", "broad_sample", "target", "target_list", "moa"]
    order = [name for name in first if name in treatment.facts]
    order += [name for name in treatment.facts if name not in order]
    shown = [(name, treatment.facts[name].replace("|", ", ")) for name in order]
    return [("id", treatment.key), *shown]


def _answer(
    results: Results, treatment: Treatment, rows: pl.DataFrame | None, wells: pl.DataFrame,
    most: Sequence[tuple[str, float, float]],
) -> str:  # fmt: skip
    """The sentence at the head of a page."""
    if treatment.control:
        return f"A negative control, in {wells.height} wells on {wells['Metadata_Plate'].n_unique()} plates."
    retrieval = [name for name, kind in results.kinds().items() if kind == "retrieval"]
    found = None if rows is None else rows.filter(
        pl.col("variant") == results.main, pl.col("evaluator").is_in(retrieval)
    ).head(1)  # fmt: skip
    where = f"{wells.height} wells on {wells['Metadata_Plate'].n_unique()} plates"
    told = words(most[0][0]) if most else None
    strongest = f" What moves most: {told.said(most[0][1])}." if told and abs(most[0][1]) >= 1 else ""
    if found is None or not found.height or found["q_value"][0] is None:
        return f"Whether it acts was not asked: it has {where}.{strongest}"
    row = found.row(0, named=True)
    acts = "It acts" if row["retrieved"] else "It cannot be told from the controls"
    return (
        f"{acts} in the space {results.main}: mAP {number(row['mAP'])} where chance gives {number(row['chance'])} "
        f"(q {number(row['q_value'])}; {where}).{strongest}"
    )


def _moved_row(name: str, mean: float, spread: float) -> list[Any]:
    told = words(name)
    assert told is not None
    return [told.said(mean), name, told.compartment, told.stain or "–", rounded(mean), rounded(spread)]


def _space_rows(rows: pl.DataFrame | None) -> list[list[Any]]:
    if rows is None:
        return []
    columns = ["variant", "evaluator", "mAP", "chance", "p_value", "q_value", "retrieved"]
    return [
        [row[0], row[1], *map(rounded, row[2:6]), "–" if row[6] is None else "yes" if row[6] else "no"]
        for row in rows.select(columns).iter_rows()
    ]


def _phenotype_rows(rows: pl.DataFrame | None) -> list[list[Any]]:
    if rows is None:
        return []
    columns = ["model", "phenotype", "effect", "q_value", "called", "wells"]
    return [
        [row[0], row[1], rounded(row[2]), rounded(row[3]), row[4] or "–", row[5]]
        for row in rows.select(columns).sort("q_value", "phenotype", nulls_last=True).iter_rows()
    ]


def _well_row(row: Mapping[str, Any], what: Mapping[tuple[str, str], list[str]]) -> list[Any]:
    place = row["Metadata_Plate"], row["Metadata_Well"]
    counts = [row.get(f"Metadata_Count_{name}") for name in ("Cells", "Failed_Sites", "Flagged_Sites")]
    return [*place, *counts, "; ".join(what.get(place, [])) or "nothing"]


def _what_happened(inputs: Snapshot, plates: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """What was flagged or failed in each well, in words; wells without anything are left out."""
    found: dict[tuple[str, str], list[str]] = {}
    for plate in plates:
        if inputs.has("image_quality", plate):
            scan = inputs.scan("image_quality", [plate])
            flags = [name for name in scan.collect_schema().names() if name.startswith("flag_")]
            if flags:
                hit = scan.filter(pl.any_horizontal(pl.col(flags).fill_null(False))).collect()
                for row in hit.iter_rows(named=True):
                    named = [name.removeprefix("flag_").replace("_", " ") for name in flags if row[name]]
                    text = f"site {row['Metadata_Site']}, {row['channel']}: {', '.join(named)}"
                    found.setdefault((plate, row["Metadata_Well"]), []).append(text)
        if inputs.has("site_failures", plate):
            for row in inputs.read("site_failures", plate).iter_rows(named=True):
                text = f"site {row['Metadata_Site']} failed in {row['stage']}: {row['error']}"
                found.setdefault((plate, row["Metadata_Well"]), []).append(text)
    return found


def _shot(row: Mapping[str, Any], control: bool) -> dict[str, Any]:
    return {
        "plate": row["Metadata_Plate"], "well": row["Metadata_Well"], "site": row["Metadata_Site"], "control": control,
        "near": row["near"], "channels": row["channels"], "side": row["side"],
        "micrometres": rounded(row["micrometres"]), "picture": row["picture"], "outlines": row["outlines"],
    }  # fmt: skip


def _nearest(inputs: Snapshot, results: Results) -> dict[str, tuple[list[tuple[str, float]], str]]:
    """By treatment those whose consensus profiles are most like its own in the main space, and what is usual there."""
    space = results.main.partition(",")[0]
    rows = inputs.scan("treatment_profiles", [results.study.name]).filter(pl.col("space") == space).collect()
    rows = rows.filter(pl.col("treatment").is_in(list(results.named)))
    features = space_features(rows)
    if rows.height < 3 or len(features) < 2:
        return {}
    names = rows["treatment"].to_list()
    matrix = np.nan_to_num(to_matrix(rows, features))
    [(_, alike)] = similarity_blocks(matrix, np.arange(len(matrix)), block_bytes=8 * len(matrix) ** 2)
    alike = np.array(alike, copy=True)
    usual = float(np.nanmedian(alike[~np.eye(len(alike), dtype=bool)]))
    np.fill_diagonal(alike, -np.inf)
    caption = f"Cosine of consensus profiles in the space {space}; two treatments drawn at random: {number(usual)}"
    found = {}
    for at, name in enumerate(names):
        best = np.argsort(-np.nan_to_num(alike[at], nan=-np.inf), kind="stable")[: min(NEAREST, len(names) - 1)]
        found[name] = ([(names[i], float(alike[at, i])) for i in best], caption)
    return found


def _doses(inputs: Snapshot, results: Results) -> dict[str, dict[str, Any]]:
    """By compound its responses and potency in the main space, by the study's first potency evaluator."""
    potencies = inputs.read("potencies", results.study.name).filter(variant=results.main)
    if not potencies.height:
        return {}
    first = potencies["evaluator"][0]
    responses = inputs.read("dose_responses", results.study.name).filter(variant=results.main, evaluator=first)
    points = {str(key): rows for (key,), rows in responses.sort("dose").group_by("treatment", maintain_order=True)}
    units = {each.compound: each.unit for each in results.named.values() if each.unit}
    names = ("ec50", "ec50_low", "ec50_high", "benchmark_dose", "benchmark_dose_low", "benchmark_dose_high", "top",
             "slope", "q_value")  # fmt: skip
    found = {}
    for row in potencies.filter(evaluator=first).iter_rows(named=True):
        own = points.get(row["treatment"])
        if own is None or own.height < 2:
            continue  # one dose is no series
        found[row["treatment"]] = {
            "variant": results.main, "unit": units.get(row["treatment"], ""), "active": row["active"],
            "potent": row["potent"], "flags": row["flags"] or "", **{name: rounded(row[name]) for name in names},
            "points": [[rounded(value) for value in each] for each in
                       own.select("dose", "response", "lowest", "highest", "wells").iter_rows()],
        }  # fmt: skip
    return found
