"""Settings and lake together: what a command or an asset opens to do its work."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from morpho_assets.errors import InputError
from morpho_assets.evaluate.evaluators import TRUTH_EVALUATORS
from morpho_assets.gallery.measured import MeasuredSource
from morpho_assets.gallery.source import PlateSource
from morpho_assets.gallery.sources import GallerySource, find_source
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.truth import Truth, TruthFolder, read_truth
from morpho_assets.imaging.sites import SiteReader, illumination_paths
from morpho_assets.lake.lake import Lake
from morpho_assets.lake.provenance import Provenance
from morpho_assets.lineage import PLATE_STAGES, plate_provenance, settings_digest, source_is_current, study_provenance
from morpho_assets.settings import Settings, load_settings
from morpho_assets.studies.model import Study, load_study, study_files, study_plates


@dataclass(frozen=True)
class Workspace:
    """One settings file's platform: its sources, its lake, its studies."""

    settings: Settings
    lake: Lake

    @classmethod
    def open(cls, file: Path) -> Workspace:
        """Read the settings and open the lake they name; nothing is created yet."""
        settings = load_settings(file)
        return cls(settings, Lake(settings.lake, settings.lake_options))

    # Plates

    def plates(self) -> list[str]:
        """Barcodes of all plates of all sources, sorted."""
        return sorted({plate for source in self.settings.sources for plate in source.plates()})

    def source(self, plate: str) -> PlateSource:
        return find_source(self.settings.sources, plate)

    def measured_elsewhere(self, plate: str) -> MeasuredSource | None:
        """The source of a plate without images, which has its cells or profiles; None for a plate with images."""
        if self.lake.read("sites", plate).height:
            return None
        source = self.source(plate)
        return source if isinstance(source, MeasuredSource) else None

    def store(self, plate: str) -> Store:
        """How the images of a plate are read, from the source its manifest names."""
        sites = self.lake.read("sites", plate)
        if not sites.height:
            return Store()
        name = sites["source"][0]
        for source in self.settings.sources:
            if source.name == name:
                return source.store()
        known = ", ".join(source.name for source in self.settings.sources) or "none"
        raise InputError(
            "sources", f"plate {plate}", f"the sources {known}", name, "Restore it, or read the plate anew."
        )

    def reader(self, plate: str, corrected: bool = True) -> SiteReader:
        """Reads the plate's sites, divided by its illumination functions or as they were acquired."""
        return SiteReader(self.lake, self.store(plate), illumination_paths(self.lake, plate) if corrected else {})

    def provenance(self, stage: str, plate: str) -> Provenance:
        """What a stage of a plate would be made from now."""
        return plate_provenance(self.lake, stage, plate, self.settings)

    # Studies

    def studies(self) -> list[str]:
        return sorted(study_files(Path(self.settings.studies)))

    def study(self, name: str) -> Study:
        return load_study(name, Path(self.settings.studies))

    def study_plates(self, study: Study) -> list[str]:
        """The study's plates; `all` means all with profiles made with the present settings."""
        wanted = settings_digest(PLATE_STAGES["well_profiles"], self.settings, PLATE_STAGES)
        made = {
            plate: self.lake.provenance("normalized_profiles", plate)
            for plate in self.lake.partitions("normalized_profiles")
        }
        current = [plate for plate, by in made.items() if by and by.settings == wanted]
        return study_plates(study, [plate for plate in current if source_is_current(self.lake, plate, self.settings)])

    def truth(self, study: Study) -> Truth | None:
        """What is known of the study's plates, if it has an evaluator that asks and some of them are simulated."""
        if not any(settings["evaluator"] in TRUTH_EVALUATORS for settings in study.evaluators.values()):
            return None
        sources = {source.name: source for source in self.settings.sources}
        folders = {}
        for plate in self.study_plates(study):
            sites = self.lake.read("sites", plate)
            source = sources.get(sites["source"][0]) if sites.height else None
            if isinstance(source, GallerySource):
                batch = self.lake.read("wells", plate)["Metadata_Batch"][0]
                folders[plate] = TruthFolder(source.store(), source.base, batch, plate)
        return read_truth(folders)

    def study_provenance(self, stage: str, study: Study, reads: tuple[str, ...] = ()) -> Provenance:
        """What a stage of a study would be made from now, with the plate stages that it reads."""
        return study_provenance(self.lake, stage, study, self.study_plates(study), reads, self.settings)
