"""The one list of stages: each entry says what a stage reads, writes, needs and calls.

Assets, jobs, pools, retries, checks, the plan, the ledger's commits and the documentation follow from it. A new stage
is one entry here and one function in its room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

from morpho_assets.errors import InputError
from morpho_assets.evaluate.attention import attention_metrics
from morpho_assets.evaluate.checks import TRUTH, truth_holds
from morpho_assets.evaluate.evaluators import TRUTH_EVALUATORS
from morpho_assets.evaluate.study import evaluate_study
from morpho_assets.evaluate.sweep import sweep
from morpho_assets.gallery.checks import controls_present, few_failed_sites, wells_imaged_and_described
from morpho_assets.gallery.images import fetch_images, image_sources, image_stamps
from morpho_assets.gallery.manifest import manifest_files, read_manifest
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.truth import truth_folders
from morpho_assets.imaging.checks import no_fault_of_the_plate, stains_as_on_the_batch
from morpho_assets.imaging.plate import grade_plate, illuminate_plate, segment_plate
from morpho_assets.imaging.segmentation import by_site, file_stamps
from morpho_assets.imaging.sites import complete_sites
from morpho_assets.lake.digests import digest, digest_bytes
from morpho_assets.lake.judgements import InForce, of_profiles, rejection_of_plate
from morpho_assets.lake.lake import Snapshot
from morpho_assets.lake.ledger import Commit, Partition, Verdict
from morpho_assets.lake.work import Work
from morpho_assets.learn.attribution import attribute_study
from morpho_assets.learn.set_study import learn_sets
from morpho_assets.learn.study import embed_plate, project_spaces, train_encoder_of_study
from morpho_assets.measure.checks import nuclear_stain_in_nuclei
from morpho_assets.measure.plate import measure_plate
from morpho_assets.predict.activity.checks import (
    names_of_compounds_are_known,
    no_nuisance_reaches_the_score,
    structures_are_readable,
)
from morpho_assets.predict.activity.study import TABLES as ACTIVITY_TABLES
from morpho_assets.predict.activity.study import predict_activity
from morpho_assets.predict.labels import DrawnLabels, PointLabels, TruthLabels
from morpho_assets.predict.learned import learn_phenotypes
from morpho_assets.predict.phenotypes import phenotypes_of_study
from morpho_assets.predict.predictions import predict_cells
from morpho_assets.profiles.checks import (
    every_well_has_a_profile,
    finite_features,
    normalised_on_its_reference,
    platemap_fits,
)
from morpho_assets.profiles.plate import JudgedProfilesConfig, profile_plate
from morpho_assets.profiles.recipe import recipe_file
from morpho_assets.profiles.space import TableSpace, tables_of
from morpho_assets.profiles.study import build_spaces, consensus_spaces, correct_spaces
from morpho_assets.report.montage import montages

if TYPE_CHECKING:
    from morpho_assets.gallery.source import PlateSource
    from morpho_assets.settings import Settings
    from morpho_assets.studies.model import Study


@dataclass(frozen=True)
class Target:
    """A partition with what is in force for it: the settings, a plate's source and what people say of it, or a study
    and its plates' sources, with why others are `left_out`."""

    partition: Partition
    settings: Settings
    source: PlateSource | None = None
    study: Study | None = None
    sources: Mapping[str, PlateSource] = field(default_factory=dict)
    judgements: InForce = field(default_factory=dict)
    left_out: Mapping[str, str] = field(default_factory=dict)

    @property
    def seen(self) -> Mapping[str, PlateSource]:
        """Of an encoder of a study the plates that it may see, of anything else all: with their sources. InputError for
        a plate that is none of the study's."""
        if self.study is None or self.partition.part not in self.study.encoders:
            return self.sources
        plates = self.study.encoders[self.partition.part].trains_on.plates
        if plates == "all":
            return self.sources
        missing = [plate for plate in plates if plate not in self.sources]
        if missing:
            where = f"encoders.{self.partition.part}.trains_on.plates"
            expected = f"plates of the study: {', '.join(self.sources)}"
            raise InputError(f"study {self.study.name}", where, missing[0], expected, "Name these.")
        return {plate: self.sources[plate] for plate in plates}

    @property
    def from_where(self) -> Any:
        """What a work's `source` is: the plate's source, or those of the plates that a study, or its encoder, sees."""
        return self.source if self.study is None else self.seen


@dataclass(frozen=True)
class Look:
    """What there is to see of a stage's sources: its target, the tables that it reads, and its last commit."""

    target: Target
    inputs: Snapshot
    commit: Commit | None


@dataclass(frozen=True)
class Input:
    """Tables of another stage that a stage reads: of the same plate or study (or its second part), of each plate of a
    study, or of those that an encoder may see. What is `asked` for is made where it is not there; what a study does not
    need is not read."""

    stage: str
    tables: tuple[str, ...]
    of: Literal["same", "plates", "seen", "encoder"] = "same"
    asked: bool = False
    needed: Callable[[Study], bool] = lambda study: True


@dataclass(frozen=True)
class Check:
    """A check of a stage: its name, what it asks, and its function of tables, key and settings. A gate that closed is
    asked again where the settings named in `judged_by` are others than it was closed with."""

    name: str
    about: str
    function: Callable[[Snapshot, str, Any], Verdict]
    blocking: bool = False
    judged_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stage:
    """One stage. `settings` gives the part that its values depend on, `options` what changes none; `before` says what
    a setting that an old commit lacks stood for, by its dotted name; `sources` how its sources look now. `code_version`
    is raised by hand whenever it would give other values from the same inputs. One that is `judged` is not made of a
    plate that a person rejected."""

    name: str
    kind: Literal["plate", "study"]
    group: str
    function: Callable[[Work], None]
    about: str
    outputs: tuple[str, ...]
    inputs: tuple[Input, ...] = ()
    settings: Callable[[Target], Any] = lambda target: None
    named: str = ""
    options: Callable[[Target], Any] = lambda target: None
    code_version: str = "1"
    before: Mapping[str, Any] = field(default_factory=dict)
    sources: Callable[[Look], dict[str, str]] = lambda look: {}
    parts: Callable[[Study], Sequence[str]] | None = None
    checks: tuple[Check, ...] = ()
    judged: bool = False
    pool: Literal["cpu", "gpu"] | None = "cpu"
    retries: int = 0
    kinds: frozenset[str] = frozenset({"parquet"})

    def rejection(self, target: Target) -> str | None:
        """Why it may not be made of a plate that a person rejected, in words; None where it may."""
        return rejection_of_plate(target.judgements) if self.judged else None


def check(
    function: Callable[[Snapshot, str, Any], Verdict], blocking: bool = False, judged_by: tuple[str, ...] = ()
) -> Check:
    """A check with the name and the words of its function."""
    return Check(function.__name__, (function.__doc__ or "").split("\n\n")[0].strip(), function, blocking, judged_by)


def _study(*names: str) -> Callable[[Target], Any]:
    """The named settings of the study, and no others: a function that uses one undeclared fails."""
    return lambda target: SimpleNamespace(**{name: getattr(target.study, name) for name in names})


def _profiles(target: Target) -> Any:
    """How profiles are made: as the settings say, and without what people rejected."""
    rejected, kept = of_profiles(target.judgements)
    profiles = target.settings.profiles
    return JudgedProfilesConfig(**dict(profiles), rejected=rejected, kept=kept) if rejected else profiles


def _spaces(target: Target) -> Any:
    study = target.study
    assert study is not None
    share = study.tuning_share
    fitted = any(space.steps for space in study.spaces.values())
    return SimpleNamespace(
        spaces=study.spaces, tuning_share=share, seed=study.seed if share is not None else 0,
        list_seed=study.seed if fitted else 0,
    )  # fmt: skip


def _encoder(target: Target) -> Any:
    assert target.study is not None
    return target.study.encoders[target.partition.part]


def _source_settings(target: Target) -> Any:
    assert target.source is not None
    return target.source.contents()


# How sources look now


def _manifest_now(look: Look) -> dict[str, str]:
    source = look.target.source
    assert source is not None
    watched = look.commit.notes.get("watched") if look.commit else None
    return manifest_files(source, watched or source.watched(look.target.partition.key))


def _images_now(look: Look) -> dict[str, str]:
    source = look.target.source
    assert source is not None
    rows = look.inputs.read("sites", look.target.partition.key).to_dicts()
    failed = [name for name in (look.commit.sources if look.commit else {}) if name != "images"]
    return image_sources(image_stamps(source.store(), rows), failed)


def _functions_now(look: Look) -> dict[str, str]:
    source = look.target.source
    if look.target.settings.illumination.method != "gallery" or source is None:
        return {}
    rows = look.inputs.read("sites", look.target.partition.key).unique("channel", maintain_order=True)
    uris = [{"uri": uri} for uri in rows["illumination_uri"].drop_nulls()]
    return {uri: stamp or "missing" for uri, stamp in image_stamps(source.store(), uris).items()}


def _labels_now(look: Look) -> dict[str, str]:
    config = look.target.settings.segmentation
    sites = complete_sites(look.inputs, look.target.partition.key) if by_site(config) else []
    return file_stamps(config, [site.names for site in sites])


def _measured_now(look: Look) -> dict[str, str]:
    plate, source = look.target.partition.key, look.target.source
    if source is None or look.inputs.read("sites", plate).height:
        return {}
    stamps = manifest_files(source, source.measurements(plate))
    stamps = stamps if len(stamps) <= 8 else {"files": digest(stamps)}
    return {**stamps, "settings of the source": digest(source.reading())}


def _recipes_now(look: Look) -> dict[str, str]:
    assert look.target.study is not None
    names = sorted({space.recipe for space in look.target.study.spaces.values() if space.recipe is not None})
    return {name: digest_bytes(recipe_file(name).read_bytes()) for name in names}


def _weights_now(look: Look) -> dict[str, str]:
    config = _encoder(look.target)
    if getattr(config, "path", None) is None:
        return {}
    return {config.path: digest_bytes(Path(config.path).read_bytes()) if Path(config.path).is_file() else "missing"}


def _files_of_spaces_now(look: Look) -> dict[str, str]:
    assert look.target.study is not None
    files = {space.file for space in look.target.study.spaces.values() if isinstance(space, TableSpace)}
    return {**_recipes_now(look), **_stamps(files)}


def _stamps(files: Iterable[str]) -> dict[str, str]:
    """How a person's files look: a stamp each, which changes with the content."""
    return {file: ", ".join(Store().stamps(file).values()) or "missing" for file in sorted(files)}


def _evaluation_now(look: Look) -> dict[str, str]:
    """How the truth of simulated plates and files of known pairs look."""
    assert look.target.study is not None
    files = [each["pairs"] for each in look.target.study.evaluators.values() if each.get("pairs")]
    return {**_truth_now(look), **_stamps(files)}


def _labels_of_study_now(look: Look) -> dict[str, str]:
    """How files of labels look, and the truth of simulated plates where it is the labels."""
    assert look.target.study is not None
    labels = [phenotype.labels for phenotype in look.target.study.phenotypes.values()]
    found = _stamps({each.file for each in labels if isinstance(each, PointLabels)})
    for drawn in {each.file for each in labels if isinstance(each, DrawnLabels)}:
        found[drawn] = digest(Store().stamps(drawn.format(plate="*", well="*", site="*")))
    if any(isinstance(each, TruthLabels) for each in labels):
        found |= _truth_stamps(look, "cells.parquet")
    return found


def _activity_now(look: Look) -> dict[str, str]:
    """How the files of assays, compounds and modalities look."""
    assert look.target.study is not None
    activity = look.target.study.activity
    return _stamps(set(activity.files)) if activity else {}


def _truth_now(look: Look) -> dict[str, str]:
    assert look.target.study is not None
    if not any(each["evaluator"] in TRUTH_EVALUATORS for each in look.target.study.evaluators.values()):
        return {}
    return _truth_stamps(look, "*.parquet")


def _truth_stamps(look: Look, names: str) -> dict[str, str]:
    folders = truth_folders(look.inputs, look.target.sources)
    stamps = {plate: folder.store.stamps(f"{folder.path}/{names}") for plate, folder in folders.items()}
    return {"truth": digest(stamps)} if any(stamps.values()) else {}


def _page_now(look: Look) -> dict[str, str]:
    settings = look.target.settings
    from morpho_assets.lake.files import open_files, quoted

    page = open_files(settings.reports, settings.lake_options).entry(f"{quoted(look.target.partition.key)}/report.html")
    return {"report.html": "there" if page else "missing"}


_WELLS = Input("plate_manifest", ("wells", "sites"))
_SITES = Input("plate_manifest", ("sites",))
_IMAGES = Input("raw_images", ("image_files",))
_FAILURES = ("site_failures",)
_SPACES = Input("feature_space", ("profiles", "site_profiles"))
_CORRECTED = Input("corrected_profiles", ("profiles", "site_profiles"))
_PLATES_WELLS = Input("plate_manifest", ("wells", "sites"), "plates")
_PLATES_IMAGES = Input("raw_images", ("image_files",), "plates")
_PLATES_FUNCTIONS = Input("illumination", ("illumination_functions",), "plates")
_PLATES_MASKS = Input("masks", ("masks", "objects"), "plates")
_PLATES_QUALITY = Input("image_quality", ("image_quality",), "plates")
_PLATES_PROFILES = Input("well_profiles", ("well_profiles", "normalized_profiles"), "plates")


def _for_spaces(*tables: str) -> Callable[[Study], bool]:
    """Whether a space of the study reads any of these tables."""
    return lambda study: bool(tables_of(study.spaces.values()) & set(tables))


def _with_phenotypes(study: Study) -> bool:
    return bool(study.phenotypes)


def _with_embedded_phenotypes(study: Study) -> bool:
    return any(phenotype.features.encoders for phenotype in study.phenotypes.values())


def _with_sets(study: Study) -> bool:
    return bool(study.sets)


def _with_attributions(study: Study) -> bool:
    return bool(study.attributions)


def _with_activity(study: Study) -> bool:
    return study.activity is not None


def _with_activity_of_spaces(study: Study) -> bool:
    return study.activity is not None and study.activity.of_spaces


def _with_activity_of_plates(study: Study) -> bool:
    return study.activity is not None and study.activity.compounds is None


_CELLS_OF_PLATES = Input("single_cells", ("single_cells",), "plates", needed=_with_phenotypes)
_VECTORS_OF_PLATES = Input("embeddings", ("embeddings",), "plates", asked=True, needed=_with_embedded_phenotypes)
_REJECTED_OF_PLATES = Input("well_profiles", ("rejected_sites",), "plates", needed=_with_phenotypes)
_WELLS_OF_PLATES = Input("plate_manifest", ("wells", "sites"), "plates", needed=_with_phenotypes)

_FEW_FAILED = check(few_failed_sites, blocking=True, judged_by=("failed_sites",))

_STAGES = (
    Stage(
        "plate_manifest", "plate", "source", read_manifest,
        "Which image shows which well, site and channel, and what was done to each well.\n\n"
        "Read from the plate's load_data (or a samplesheet), its platemap and the metadata of the perturbations. All "
        "of it is checked before anything else runs: a wrong row stops here, with its file and row.",
        ("wells", "sites"),
        settings=_source_settings, named="source", code_version="4", before={"rename": {}}, sources=_manifest_now,
        checks=(check(controls_present), check(wells_imaged_and_described)),
        pool=None, retries=2, kinds=frozenset({"parquet", "csv"}),
    ),
    Stage(
        "raw_images", "plate", "source", fetch_images,
        "The plate's images, fetched from the gallery (or used where they lie), each with its size and checksum.\n\n"
        "An interrupted fetch goes on where it was. An image that cannot be had is a row in `site_failures`; the plate "
        "goes on without its site.",
        ("image_files", "site_failures"),
        (_SITES,), options=lambda target: target.settings.images, sources=_images_now, checks=(_FEW_FAILED,),
        pool=None, retries=2, kinds=frozenset({"s3", "tiff"}),
    ),
    Stage(
        "illumination", "plate", "images", illuminate_plate,
        "The illumination function of each channel, over all sites of the plate; images are divided by it.\n\n"
        "Computed from the plate or taken from the gallery, as the settings say; 1 means evenly lit. A few restored "
        "images leave it as it is (`illumination.renew`).",
        ("illumination_functions",),
        (_SITES, _IMAGES), settings=lambda target: target.settings.illumination, named="illumination",
        before={"frames": None}, code_version="2", sources=_functions_now, kinds=frozenset({"numpy"}),
    ),
    Stage(
        "image_quality", "plate", "images", grade_plate,
        "Focus, saturation and intensity of every raw image, with flags for those a person should look at.\n\n"
        "CellProfiler's ImageQuality names. A flag removes nothing: it is a column, and the wells count their flagged "
        "sites.",
        ("image_quality", "field_fingerprints", "site_failures"),
        (_SITES, _IMAGES), settings=lambda target: target.settings.quality, named="quality", code_version="5",
        checks=(check(no_fault_of_the_plate), check(stains_as_on_the_batch)),
    ),
    Stage(
        "masks", "plate", "images", segment_plate,
        "Label images of nuclei and cells, linked one to one, for every site; they open in Fiji and napari.",
        ("masks", "objects", "site_failures"),
        (_SITES, _IMAGES, Input("illumination", ("illumination_functions",))),
        settings=lambda target: target.settings.segmentation, named="segmentation", code_version="6",
        sources=_labels_now, checks=(_FEW_FAILED,), kinds=frozenset({"tiff"}),
    ),
    Stage(
        "single_cells", "plate", "cells", measure_plate,
        "Shape, intensity, texture and more of every nucleus, cell and cytoplasm, under CellProfiler's names.\n\n"
        "A row per cell. Site by site: a run that was stopped goes on with the sites it has not done. The cells of a "
        "plate that was measured elsewhere are read from its source.",
        ("single_cells", "measured_sites", "site_failures"),
        (
            _SITES, _IMAGES, Input("illumination", ("illumination_functions",)), Input("masks", ("masks",)),
            Input("image_quality", ()),
        ),
        settings=lambda target: target.settings.measurement, named="measurement", code_version="2",
        options=lambda target: target.settings.images, sources=_measured_now,
        checks=(_FEW_FAILED, check(nuclear_stain_in_nuclei)),
    ),
    Stage(
        "well_profiles", "plate", "profiles", profile_plate,
        "One profile per well: its cells aggregated, annotated, and normalised to the plate's negative controls.\n\n"
        "With the cells and sites behind each well, and without those that a person rejected. Profiles that were "
        "published are read from their source.",
        ("well_profiles", "normalized_profiles", "implausible_cells", "rejected_sites"),
        (
            _WELLS, Input("raw_images", _FAILURES), Input("image_quality", ("image_quality", "site_failures")),
            Input("masks", ("masks", "site_failures")),
            Input("single_cells", ("single_cells", "measured_sites", "site_failures")),
        ),
        settings=_profiles, named="profiles", code_version="4", judged=True,
        before={"aggregate.spread": None, "kept": {}}, sources=_measured_now,
        checks=tuple(map(check, (every_well_has_a_profile, normalised_on_its_reference, platemap_fits,
                                 finite_features))),
        kinds=frozenset({"parquet", "polars"}),
    ),
    Stage(
        "encoder", "study", "learned", train_encoder_of_study,
        "The study's encoders, fitted on cells of the wells that they may see; whole wells are held out to stop and to "
        "choose.\n\nA card and weights each, which suffice to embed cells anywhere.",
        ("encoders",),
        (
            Input("plate_manifest", ("wells", "sites"), "seen"), Input("raw_images", ("image_files",), "seen"),
            Input("illumination", ("illumination_functions",), "seen"), Input("masks", ("masks", "objects"), "seen"),
            Input("well_profiles", ("rejected_sites",), "seen"),
        ),
        settings=_encoder, named="encoders", parts=lambda study: list(study.encoders), pool="gpu", code_version="7",
        before={"trains_on.without": ()}, sources=_weights_now, kinds=frozenset({"torch"}),
    ),
    Stage(
        "embeddings", "plate", "learned", embed_plate,
        "The embedding of every cell, tile or site by an encoder: a row of each and encoder. Studies ask for it, plate "
        "by plate.",
        ("embeddings", "tile_embeddings"),
        (
            _WELLS, _IMAGES, Input("illumination", ("illumination_functions",)), Input("masks", ("masks", "objects")),
            Input("encoder", ("encoders",), "encoder"),
        ),
        code_version="3",
        parts=lambda study: [f"{study.name}/{name}" for name in study.encoders], pool="gpu",
        kinds=frozenset({"torch", "parquet"}),
    ),
    Stage(
        "sets", "study", "learned", learn_sets,
        "Heads over the cells of a well, fitted by contrasting wells of the same treatment, and every well by them.\n\n"
        "They read embeddings and features that are there. Tables `set_profiles` and `encoders`.",
        ("set_profiles", "encoders"),
        (
            Input("encoder", ("encoders",), "encoder", needed=_with_sets),
            Input("embeddings", ("embeddings",), "plates", asked=True, needed=_with_sets),
            Input("single_cells", ("single_cells",), "plates", needed=_with_sets),
            Input("plate_manifest", ("wells", "sites"), "plates", needed=_with_sets),
            Input("well_profiles", ("rejected_sites",), "plates", needed=_with_sets),
        ),
        settings=_study("sets"), code_version="2", kinds=frozenset({"torch", "parquet"}),
    ),
    Stage(
        "attributions", "study", "learned", partial(attribute_study, scored=attention_metrics),
        "Where the study's encoders look: heat maps of windows of every treatment, beside the untrained twin's.\n\n"
        "Tables `attributions` (a row of each window, encoder and method) and `metrics` (areas, compartments, right "
        "against wrong names).",
        ("attributions", "metrics"),
        (
            Input("encoder", ("encoders",), "encoder", needed=_with_attributions),
            *(
                Input(stage, tables, "plates", needed=_with_attributions)
                for stage, tables in (
                    ("plate_manifest", ("wells", "sites")), ("raw_images", ("image_files",)),
                    ("illumination", ("illumination_functions",)), ("masks", ("masks", "objects")),
                    ("well_profiles", ("rejected_sites",)),
                )
            ),
        ),
        settings=_study("attributions"), pool="gpu", kinds=frozenset({"torch", "parquet"}),
    ),
    Stage(
        "models", "study", "phenotypes", learn_phenotypes,
        "Models of cells, learned from labels and tested on images, wells or plates that they did not see.\n\n"
        "Tables `labels` (which cell each label means), `models`, `predictions` (of labelled cells, by models of "
        "others), `feature_shifts`, and `metrics`, beside what knows nothing.",
        ("labels", "models", "predictions", "metrics", "feature_shifts"),
        (
            _CELLS_OF_PLATES, _VECTORS_OF_PLATES, _WELLS_OF_PLATES, _REJECTED_OF_PLATES,
            Input("masks", ("masks",), "plates", needed=_with_phenotypes),
        ),
        settings=_study("phenotypes"), code_version="4", sources=_labels_of_study_now, kinds=frozenset({"parquet"}),
    ),
    Stage(
        "predictions", "study", "phenotypes", predict_cells,
        "Every cell of the study's plates by the models of its phenotypes; a cell that was in training is marked.",
        ("predictions",),
        (
            Input("models", ("models", "labels")), _CELLS_OF_PLATES, _VECTORS_OF_PLATES, _WELLS_OF_PLATES,
        ),
        settings=_study("phenotypes"), kinds=frozenset({"parquet"}),
    ),
    Stage(
        "phenotypes", "study", "phenotypes", phenotypes_of_study,
        "The probability of each phenotype in every well, and which treatments make it more or fewer: wells against "
        "their plate's controls.",
        ("phenotype_profiles", "enrichments", "phenotype_calls"),
        (Input("predictions", ("predictions",)), _WELLS_OF_PLATES, _REJECTED_OF_PLATES),
        settings=_study("phenotypes"), code_version="3", kinds=frozenset({"parquet"}),
    ),
    Stage(
        "feature_space", "study", "spaces", build_spaces,
        "The spaces in which the study compares wells: cells, images, pixels, embeddings or a table of one's own, "
        "through each space's list of steps.\n\n"
        "Tables `profiles` (step `selected`) or `site_profiles`, `space_steps` (what each step was fitted on), "
        "`feature_selection` (what was left out, and by which rule) and `correction_notes` (which plates lack what).",
        ("profiles", "site_profiles", "space_steps", "feature_selection", "correction_notes"),
        (
            Input(
                "well_profiles", ("well_profiles", "normalized_profiles", "implausible_cells", "rejected_sites"),
                "plates",
            ),
            Input(
                "embeddings", ("embeddings", "tile_embeddings"), "plates", asked=True,
                needed=_for_spaces("embeddings", "tile_embeddings"),
            ),
            Input("single_cells", ("single_cells",), "plates", needed=_for_spaces("single_cells")),
            Input("image_quality", ("image_quality",), "plates", needed=_for_spaces("image_quality")),
            Input("plate_manifest", ("sites",), "plates", needed=_for_spaces("sites")),
            Input("raw_images", ("image_files",), "plates", needed=_for_spaces("image_files")),
            Input("illumination", ("illumination_functions",), "plates", needed=_for_spaces("illumination_functions")),
            Input("phenotypes", ("phenotype_profiles",), needed=_for_spaces("phenotype_profiles")),
            Input("sets", ("set_profiles",), needed=_for_spaces("set_profiles")),
        ),
        settings=_spaces, code_version="6", sources=_files_of_spaces_now, kinds=frozenset({"parquet", "polars"}),
    ),
    Stage(
        "corrected_profiles", "study", "spaces", partial(correct_spaces, tune=sweep),
        "The spaces after each corrector of the study's chain, in its order; each step can be compared with the "
        "last.\n\nTables `profiles` or `site_profiles` (a step per corrector), `correction_notes`, and `metrics` (the "
        "curve of a sweep).",
        ("profiles", "site_profiles", "feature_selection", "correction_notes", "metrics"),
        (_SPACES,),
        settings=_study("spaces", "corrections", "seed"), code_version="6", sources=_recipes_now,
        kinds=frozenset({"parquet", "polars"}),
    ),
    Stage(
        "treatment_profiles", "study", "spaces", consensus_spaces,
        "One profile per treatment (or treatment and batch) of every space after its last correction: their consensus.",
        ("treatment_profiles",),
        (_SPACES, _CORRECTED),
        settings=_study("spaces", "corrections", "consensus"), code_version="2", kinds=frozenset({"parquet", "polars"}),
    ),
    Stage(
        "activity", "study", "activity", predict_activity,
        "What structure, morphology and other modalities predict of assays, alone and together, by compounds whose "
        "scaffold the models did not see.\n\n"
        "Tables `assays`, `assay_matches` (which compound each name means), `assay_compounds`, `assay_scores`, "
        "`assay_overlaps` (who adds what), `assay_predictions` (the list of compounds) and `metrics`.",
        ACTIVITY_TABLES,
        (
            Input("feature_space", ("profiles", "site_profiles"), needed=_with_activity_of_spaces),
            Input("corrected_profiles", ("profiles", "site_profiles"), needed=_with_activity_of_spaces),
            Input("plate_manifest", ("wells", "sites"), "plates", needed=_with_activity_of_plates),
            Input(
                "well_profiles", ("well_profiles", "normalized_profiles"), "plates", needed=_with_activity_of_plates
            ),
        ),
        settings=_study("activity", "spaces", "corrections"), sources=_activity_now,
        checks=tuple(map(check, (names_of_compounds_are_known, structures_are_readable,
                                 no_nuisance_reaches_the_score))),
        kinds=frozenset({"parquet"}),
    ),
    Stage(
        "projections", "study", "spaces", project_spaces,
        "Maps of the wells in every space (UMAP, t-SNE), after the last correction; distances on them measure nothing.",
        ("projections",),
        (_SPACES, _CORRECTED),
        settings=_study("spaces", "corrections", "projection"), code_version="2", kinds=frozenset({"umap"}),
    ),
    Stage(
        "evaluation", "study", "evaluation", evaluate_study,
        "Every evaluator of the study on every space and step, and on shuffled treatments; beside each score its "
        "chance.\n\nTables `metrics`, `treatments`, `treatment_scores`, `clusters`, `cluster_descriptions`, where "
        "compounds have doses `potencies` and `dose_responses`, and, where the truth is known, `planted_and_found`.",
        (
            "metrics", "treatments", "treatment_scores", "clusters", "cluster_descriptions", "potencies",
            "dose_responses", "planted_and_found",
        ),
        (
            _SPACES, Input("corrected_profiles", (*_CORRECTED.tables, "metrics")),
            Input("encoder", ("encoders",), "encoder"), Input("sets", ("encoders",), needed=_with_sets), _PLATES_WELLS,
            _PLATES_IMAGES, _PLATES_FUNCTIONS, _PLATES_QUALITY, _PLATES_MASKS, _PLATES_PROFILES,
        ),
        settings=_study("spaces", "corrections", "evaluators", "shuffles", "seed"), code_version="13",
        sources=_evaluation_now,
        checks=tuple(Check(f"truth_{name}", about, partial(truth_holds, name)) for name, about in TRUTH.items()),
    ),
    Stage(
        "montages", "study", "evaluation", montages,
        "Some cells of each treatment beside the negative controls of their plate, in all stains at one contrast: near "
        "the median of their well, and near its extreme.",
        ("montages",),
        (
            _PLATES_WELLS, _PLATES_IMAGES, _PLATES_FUNCTIONS, _PLATES_MASKS, _PLATES_PROFILES,
            Input("single_cells", ("single_cells",), "plates"),
        ),
        options=lambda target: target.settings, kinds=frozenset({"parquet"}), code_version="3",
    ),
    Stage(
        "report", "study", "evaluation", lambda work: _report(work),
        "One self-contained HTML page: what was asked, how well it is answered, what chance gives, how it was made.",
        (),
        (
            Input(
                "evaluation",
                (
                    "metrics", "treatments", "clusters", "cluster_descriptions", "potencies", "dose_responses",
                    "planted_and_found",
                ),
            ),
            Input("projections", ("projections",)),
            Input("montages", ("montages",)),
            Input("treatment_profiles", ("treatment_profiles",)),
            Input(
                "models", ("labels", "models", "metrics", "feature_shifts", "predictions"), needed=_with_phenotypes
            ),
            Input("predictions", ("predictions",), needed=_with_phenotypes),
            Input("activity", ACTIVITY_TABLES, needed=_with_activity),
            Input("phenotypes", ("phenotype_profiles", "enrichments", "phenotype_calls"), needed=_with_phenotypes),
            Input("feature_space", ("profiles", "site_profiles", "space_steps", "correction_notes")),
            Input("corrected_profiles", ("profiles", "site_profiles", "correction_notes")),
            Input("encoder", ("encoders",), "encoder"), Input("sets", ("encoders",), needed=_with_sets),
            _PLATES_WELLS, _PLATES_FUNCTIONS, _PLATES_PROFILES,
            Input("attributions", ("attributions", "metrics"), needed=_with_attributions),
            Input("raw_images", ("image_files", "site_failures"), "plates"),
            Input("image_quality", ("image_quality", "site_failures"), "plates"),
            Input("masks", ("masks", "objects", "site_failures"), "plates"),
            Input("single_cells", ("site_failures",), "plates"),
        ),
        code_version="5",
        settings=lambda target: target.study,
        before={"phenotypes": {}, "activity": None, "attributions": {}, "sets": {}},
        options=lambda target: SimpleNamespace(
            reports=target.settings.reports, lake_options=target.settings.lake_options, left_out=target.left_out
        ),
        sources=_page_now,
        kinds=frozenset({"html"}),
    ),
)  # fmt: skip
STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
PLATE_STAGES = tuple(stage.name for stage in _STAGES if stage.kind == "plate" and stage.parts is None)
"""The stages of job `plate`, in order: those that every plate goes through."""
STUDY_STAGES = tuple(stage.name for stage in _STAGES if stage.kind == "study")
"""The stages of job `study`, in order."""


def _report(work: Work) -> None:
    from morpho_assets.report.study import report_study  # matplotlib

    report_study(work)
