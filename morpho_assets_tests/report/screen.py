"""A screen as lake tables, written by hand: any number of plates, wells and treatments, effects, flags, failures.

What a report reads is there, as a run would have left it; no image is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from morpho_assets.evaluate.study import PLATES
from morpho_assets.lake.lake import Lake, Snapshot
from morpho_assets.lake.ledger import Verdict
from morpho_assets.lake.tables import table
from morpho_assets.profiles.study import SHUFFLED
from morpho_assets.report.montage import BUDGET, LEAST, MOST, _png, _webp, side_within
from morpho_assets.report.results import Results, read_results
from morpho_assets.studies.model import Study
from morpho_assets_tests.factories import commit_work, make_work, plate, study

STAINS = ("DNA", "ER", "RNA", "AGP", "Mito")
HARALICK = (
    *("AngularSecondMoment", "Contrast", "Correlation", "DifferenceEntropy", "DifferenceVariance", "Entropy"),
    *("InfoMeas1", "InfoMeas2", "InverseDifferenceMoment", "SumAverage", "SumEntropy", "SumVariance", "Variance"),
)
EVIL = '</script><img src=x onerror="document.title=1">=cmd|x'
"""What one treatment is called: text that would break a page, or a spreadsheet, that does not escape it."""


DRAWN = 32
"""How many montages are drawn; more treatments have the same again."""


@dataclass(frozen=True)
class Screen:
    """How large it is. Each compound has `doses` doses; a tenth of the treatments act. `side` is that of a shown cell,
    0 for none."""

    plates: int = 2
    wells: int = 24
    treatments: int = 12
    doses: int = 2
    features: int = 300
    side: int = 24
    seed: int = 0

    @property
    def names(self) -> list[str]:
        return [f"plate {number:03d}" for number in range(1, self.plates + 1)]


def features(number: int) -> list[str]:
    """Names as CellProfiler gives them, those that have words first."""
    names = [
        f"{where}_AreaShape_{what}" for where in ("Nuclei", "Cells") for what in ("Area", "Eccentricity", "Solidity")
    ]
    names += [
        f"{where}_Intensity_MeanIntensity_{stain}" for where in ("Nuclei", "Cells", "Cytoplasm") for stain in STAINS
    ]
    names += [
        f"{where}_Texture_{what}_{stain}_3_00_256"
        for where in ("Nuclei", "Cells", "Cytoplasm")
        for what in ("Contrast", "Entropy", "AngularSecondMoment", "Correlation")
        for stain in STAINS
    ]
    names += [
        f"{where}_RadialDistribution_FracAtD_{stain}_{ring}of4"
        for where in ("Cells", "Nuclei")
        for stain in STAINS
        for ring in range(1, 5)
    ]
    compartments = ("Nuclei", "Cells", "Cytoplasm")
    names += [
        f"{where}_Granularity_{size}_{stain}" for where in compartments for size in range(1, 17) for stain in STAINS
    ]
    names += [
        f"{where}_Texture_{what}_{stain}_{scale}_{angle:02d}_256"
        for scale in (3, 5, 10)
        for angle in range(4)
        for what in HARALICK
        for where in compartments
        for stain in STAINS
    ]
    names = list(dict.fromkeys(names))
    names += [f"Cells_AreaShape_Zernike_{at}_0" for at in range(max(0, number - len(names)))]
    return names[:number]


def study_of(screen: Screen) -> Study:
    return Study.model_validate(
        {
            "name": "screen",
            "title": "A screen",
            "about": "Written by hand.",
            "spaces": {"cellprofiler": {"of": "cells"}, "cell_count": {"of": "cell_count"}},
            "evaluators": {"replicates": {"evaluator": "retrieval"}, "doses": {"evaluator": "potency"}},
        }
    )


def write_screen(lake: Lake, screen: Screen) -> Snapshot:
    """The tables of the screen, committed."""
    rng = np.random.default_rng(screen.seed)
    layout = _layout(screen)
    names = features(screen.features)
    acting = rng.normal(0, 3, (screen.treatments, screen.features)) * (np.arange(screen.treatments) % 10 == 0)[:, None]
    commits = []
    for number, name in enumerate(screen.names):
        commits += _write_plate(lake, screen, layout, number, name, names, acting, rng)
    commits += _write_study(lake, screen, layout, names, acting, rng)
    return lake.snapshot(commits)


def results_of(snapshot: Snapshot, screen: Screen) -> Results:
    """What the report of the screen reads first."""
    return read_results(snapshot, study_of(screen), screen.names, "cellprofiler", ["cellprofiler", "cell_count"])


def _layout(screen: Screen) -> list[int]:
    """The treatment of each well of each plate, plate by plate; -1 for a negative control (every eighth well)."""
    treated = iter(range(10**9))
    return [-1 if at % 8 == 0 else next(treated) % screen.treatments for at in range(screen.plates * screen.wells)]


def _compound(screen: Screen, treatment: int) -> tuple[str, float]:
    compound, dose = divmod(treatment, screen.doses)
    return f"BRD-{compound:05d}", float(10.0 ** (dose - screen.doses + 2))


def _key(screen: Screen, treatment: int) -> str:
    compound, dose = _compound(screen, treatment)
    return "DMSO" if treatment < 0 else f"{compound}@{dose:g}"


def _annotation(screen: Screen, treatments: list[int]) -> dict[str, list[str | None]]:
    of = [None if each < 0 else _compound(screen, each) for each in treatments]
    iname = ["DMSO" if each is None else EVIL if each[0] == "BRD-00001" else f"drug-{int(each[0][4:])}" for each in of]
    return {
        "Metadata_Perturbation": [_key(screen, each) for each in treatments],
        "Metadata_pert_type": ["control" if each is None else "trt" for each in of],
        "Metadata_control_type": ["negcon" if each is None else None for each in of],
        "Metadata_pert_iname": iname,
        "Metadata_dose_uM": [None if each is None else f"{each[1]:g}" for each in of],
        "Metadata_target": [None if each is None else f"GENE{int(each[0][4:]) % 40}" for each in of],
        "Metadata_smiles": ["CS(=O)C" if each is None else "CC(=O)Oc1ccccc1C(=O)O" for each in of],
    }


def _write_plate(lake, screen, layout, number, name, names, acting, rng):  # type: ignore[no-untyped-def]
    mine = layout[number * screen.wells : (number + 1) * screen.wells]
    columns = {96: 12, 384: 24}.get(screen.wells, 24 if screen.wells > 96 else 12)
    wells = [f"{chr(65 + at // columns)}{at % columns + 1:02d}" for at in range(screen.wells)]
    treated = np.array(mine)
    z = rng.normal(0, 1, (screen.wells, screen.features)) + np.where(treated[:, None] >= 0, acting[treated], 0)
    bad = number == 0
    counts = rng.poisson(900, screen.wells)
    profile = pl.DataFrame(
        {
            "Metadata_Plate": [name] * screen.wells,
            "Metadata_Well": wells,
            "Metadata_Row": [at // columns + 1 for at in range(screen.wells)],
            "Metadata_Col": [at % columns + 1 for at in range(screen.wells)],
            "Metadata_Batch": [f"batch {number % 4}"] * screen.wells,
            **_annotation(screen, mine),
            "Metadata_Count_Cells": counts,
            "Metadata_Count_Sites": [9] * screen.wells,
            "Metadata_Count_Failed_Sites": [int(bad and at == 1) for at in range(screen.wells)],
            "Metadata_Count_Flagged_Sites": [int(at == 2) for at in range(screen.wells)],
            "Metadata_Count_Implausible_Cells": [3] * screen.wells,
            "Metadata_normalized_on": ["negcon"] * screen.wells,
        }
    )
    features = pl.DataFrame(z.astype(np.float32), schema=names)
    raw = pl.concat([profile, features.select(names[:8])], how="horizontal")  # a report reads their metadata
    profiles = pl.concat([profile, features], how="horizontal")
    images = screen.wells * len(STAINS)
    quality = pl.DataFrame(
        {
            "Metadata_Plate": [name] * images,
            "Metadata_Well": [well for well in wells for _ in STAINS],
            "Metadata_Site": [1] * images,
            "channel": list(STAINS) * screen.wells,
            "ImageQuality_PowerLogLogSlope": rng.normal(-2, 0.1, images),
            "flag_out_of_focus": [at == 2 and stain == "DNA" for at in range(screen.wells) for stain in STAINS],
            "flag_saturated": [False] * images,
        },
    ).with_columns(same_field_as=pl.lit(None, table("image_quality").schema["same_field_as"]))
    failures = pl.DataFrame(
        [
            {
                "Metadata_Plate": name,
                "Metadata_Well": wells[1],
                "Metadata_Site": 4,
                "channel": "ER",
                "stage": "raw_images",
                "error": "no such file; fetch it again",
                "path": "r01c02f04.tiff",
            }
        ]
        if bad
        else [],
        schema=table("site_failures").schema,
    )
    put = partial(_commit, lake, partition=plate(name))
    sites = screen.wells * 9
    drift = Verdict(check="stains_as_on_the_batch", passed=not bad, text="ER is 1.9 times as bright as on other plates")
    return [
        put("plate_manifest", {each: table(each).empty() for each in ("wells", "sites")}),
        put(
            "raw_images",
            {"image_files": table("image_files").empty(), "site_failures": failures},
            sites=sites,
            failed={f"{wells[1]}-4": "no such file"} if bad else {},
        ),
        put("illumination", {"illumination_functions": table("illumination_functions").empty()}),
        put(
            "image_quality",
            {"image_quality": quality, "site_failures": table("site_failures").empty()},
            sites=sites,
            verdicts=(drift,),
        ),
        put("masks", {each: table(each).empty() for each in ("masks", "objects", "site_failures")}, sites=sites),
        put("single_cells", {each: table(each).empty() for each in ("single_cells", "site_failures")}, sites=sites),
        put("well_profiles", {"well_profiles": raw, "normalized_profiles": profiles}),
    ]


def _write_study(lake, screen, layout, names, acting, rng):  # type: ignore[no-untyped-def]
    count = screen.treatments
    keys = [_key(screen, each) for each in range(count)]
    put = partial(_commit, lake, partition=study("screen"))
    acts = np.arange(count) % 10 == 0
    spaces = [
        ("cellprofiler", acts),
        ("cell_count", np.zeros(count, bool)),
        (f"cellprofiler, {SHUFFLED}", np.zeros(count, bool)),
    ]
    treatments = pl.concat(
        [
            pl.DataFrame(
                {
                    "study": "screen",
                    "variant": variant,
                    "evaluator": "replicates",
                    "treatment": keys,
                    "mAP": np.where(found, 0.9, 0.2) + rng.uniform(0, 0.05, count),
                    "chance": 0.12,
                    "normalised_AP": 0.1,
                    "p_value": np.where(found, 1e-4, 0.4),
                    "p_least": 1e-5,
                    "q_value": np.where(found, 1e-3, 0.6),
                    "retrieved": found,
                    "n_profiles": 4,
                    "n_positives": 3.0,
                    "n_total": 40.0,
                }
            )
            for variant, found in spaces
        ]
    )
    metric = {"study": "screen", "evaluator": "replicates", "scope": "overall", "chance": 0.12, "n": count}
    metrics = [
        {**metric, "variant": name, "metric": "mAP", "value": value, "ci_low": value - 0.05, "ci_high": value + 0.05}
        for name, value in (("cellprofiler", 0.3), ("cell_count", 0.2), (f"cellprofiler, {SHUFFLED}", 0.12))
    ]
    metrics += [{**metric, "variant": f"cellprofiler, {SHUFFLED}", "metric": "fraction_retrieved", "value": 0.0}]
    metrics += [
        {
            **metric,
            "variant": "cellprofiler",
            "scope": "against cell_count",
            "metric": "mAP",
            "value": 0.1,
            "ci_low": 0.05,
            "ci_high": 0.15,
            "chance": 0.0,
        }
    ]
    metrics += [
        {
            **metric,
            "variant": PLATES,
            "evaluator": "stains",
            "scope": f"{name}, {stain}",
            "metric": "stain_log2_ratio",
            "value": 0.9 if at == 0 and stain == "ER" else 0.1,
            "chance": 0.0,
            "p_value": 0.001 if at == 0 else 0.5,
            "holds": not (at == 0 and stain == "ER"),
            "n": screen.wells,
        }
        for at, name in enumerate(screen.names)
        for stain in STAINS
    ]
    compounds = sorted({_compound(screen, each)[0] for each in range(count)})
    potencies = pl.DataFrame(
        [
            {
                "study": "screen",
                "variant": "cellprofiler",
                "evaluator": "doses",
                "treatment": name,
                "wells": 8,
                "doses": screen.doses,
                "lowest_dose": 1.0,
                "highest_dose": 10.0,
                "active": at % 5 == 0,
                "potent": at % 5 == 0,
                "ec50": 3.0 if at % 5 == 0 else None,
                "ec50_low": 1.5 if at % 5 == 0 else None,
                "ec50_high": None,
                "benchmark_dose": 2.0 if at % 5 == 0 else None,
                "benchmark_dose_low": None,
                "benchmark_dose_high": 4.0,
                "top": 5.0,
                "slope": 1.5,
                "highest_response": 5.0,
                "p_value": 0.01,
                "q_value": 0.02,
                "flags": "",
            }
            for at, name in enumerate(compounds)
        ]
    )
    responses = pl.DataFrame(
        [
            {
                "study": "screen",
                "variant": "cellprofiler",
                "evaluator": "doses",
                "treatment": _compound(screen, each)[0],
                "dose": _compound(screen, each)[1],
                "wells": 4,
                "response": float(each % 5),
                "spread": 0.5,
                "lowest": each % 5 - 0.5,
                "highest": each % 5 + 0.5,
            }
            for each in range(count)
        ]
    )
    consensus = pl.concat(
        [
            pl.DataFrame({"study": "screen", "space": "cellprofiler", "step": "selected", "treatment": keys}),
            pl.DataFrame((acting + rng.normal(0, 1, acting.shape)).astype(np.float32), schema=names),
        ],
        how="horizontal",
    )
    columns = {96: 12, 384: 24}.get(screen.wells, 24 if screen.wells > 96 else 12)
    wells = [f"{chr(65 + at // columns)}{at % columns + 1:02d}" for at in range(screen.wells)]
    count = screen.plates * screen.wells
    points = pl.concat(
        [
            pl.DataFrame(
                {
                    "study": "screen",
                    "space": space,
                    "step": "selected",
                    "method": "umap",
                    "Metadata_Plate": [name for name in screen.names for _ in wells],
                    "Metadata_Well": wells * screen.plates,
                    "x": rng.normal(size=count),
                    "y": rng.normal(size=count),
                }
            )
            for space in ("cellprofiler", "cell_count")
        ]
    )
    steps = pl.DataFrame(
        [
            {"study": "screen", "space": name, "number": 0, "step": "the source", "level": "well"}
            for name in ("cellprofiler", "cell_count")
        ]
    )
    empty = {name: table(name).empty() for name in ("clusters", "planted_and_found")}
    return [
        put(
            "evaluation",
            {
                "metrics": pl.DataFrame(metrics, infer_schema_length=None),
                "treatments": treatments,
                "potencies": potencies,
                "dose_responses": responses,
                **empty,
            },
        ),
        put(
            "feature_space",
            {
                "space_steps": steps,
                "correction_notes": table("correction_notes").empty(),
                "profiles": table("profiles").empty(),
                "site_profiles": table("site_profiles").empty(),
            },
        ),
        put("treatment_profiles", {"treatment_profiles": consensus}),
        put("projections", {"projections": points}),
        put("montages", {"montages": _montages(screen, keys, rng)}),
    ]


def _montages(screen: Screen, keys: list[str], rng: np.random.Generator) -> pl.DataFrame:
    """Cells of smooth noise, as large in bytes as the cells of a screen of this size may be. A few dozen are drawn,
    and shown of one treatment after the other: a page writes each where it stands, and is no smaller for it."""
    if not screen.side:
        return table("montages").empty()
    rows = [(key, screen.names[at % screen.plates]) for at, key in enumerate(keys)]
    rows += [("DMSO", name) for name in screen.names]
    budget = int(np.clip(BUDGET / len(rows), LEAST, MOST))
    side = side_within(budget, screen.side, len(STAINS))
    drawn = [_webp(_cells(side, rng), budget) for _ in range(min(DRAWN, len(rows)))]
    count = len(rows)
    return pl.DataFrame(
        {
            "study": ["screen"] * count,
            "treatment": [key for key, _ in rows],
            "Metadata_Plate": [name for _, name in rows],
            "Metadata_Well": ["A02"] * count,
            "Metadata_Site": [1] * count,
            "objects": [list(range(1, 9))] * count,
            "near": [["median"] * 4 + ["extreme"] * 4] * count,
            "channels": [list(STAINS)] * count,
            "low": [[0.0] * 5] * count,
            "high": [[1.0] * 5] * count,
            "side": [side] * count,
            "micrometres": [0.6] * count,
            "picture": [drawn[at % len(drawn)] for at in range(count)],
            "outlines": [_png(_rings(side), side)] * count,
        }
    )


def _cells(side: int, rng: np.random.Generator) -> np.ndarray:
    """(5 side, 8 side) uint8: blobs with a grain."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    blob = np.exp(-(x**2 + y**2) / 0.06)
    tiles = blob[None, None] * rng.uniform(0.6, 1, (5, 8, 1, 1)) + rng.normal(0, 0.06, (5, 8, side, side))
    return (255 * np.clip(tiles, 0, 1)).astype(np.uint8).transpose(0, 2, 1, 3).reshape(5 * side, 8 * side)


def _rings(side: int) -> list[np.ndarray]:
    y, x = np.mgrid[:side, :side] - side / 2
    radius = np.hypot(x, y)
    return [np.repeat((abs(radius - side * part) < 1)[None], 8, axis=0) for part in (0.2, 0.4)]


def _commit(lake, stage, tables, partition, sites=0, failed=None, verdicts=()):  # type: ignore[no-untyped-def]
    work = make_work(lake, stage, partition)
    work.failed = dict(failed or {})
    work.sites = dict.fromkeys([*work.failed, *(f"site {at}" for at in range(sites - len(work.failed)))], "")
    for name, frame in tables.items():
        work.write(name, frame)
    return commit_work(work).model_copy(update={"verdicts": verdicts})
