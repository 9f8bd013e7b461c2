"""Exports as assets: one for each form of plates, and AnnData of studies. They call what `morpho export` calls.

They are no stages: nothing reads them, no job makes them unasked, and the ledger knows nothing of them. What is whole
in their folder is kept (docs/export.md).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from morpho_assets.assets.partitions import PLATES, STUDIES
from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.errors import InputError, MorphoError
from morpho_assets.export import FORMS
from morpho_assets.exporting import Exported, Options, export

OWNERS = ["team:morpho"]
_READS = {
    "anndata": ("single_cells", "well_profiles"),
    "ome-zarr": ("raw_images", "masks"),
    "crops": ("raw_images", "masks"),
    "cytotable": ("single_cells",),
    "gallery": ("single_cells", "well_profiles"),
    "labels": ("masks",),
}
"""The stages that each form shows."""


class ExportConfig(dg.Config):
    """What may be chosen in the launchpad; the words are those of `morpho export FORM --help`."""

    out: str | None = Field(None, description="the folder; default: exports/<form> beside the catalog")
    options: dict[str, Any] = Field({}, description="such as {by: Metadata_moa, size: 64} for crops; docs/export.md")


def export_asset(form: str, of: str = "plate") -> dg.AssetsDefinition:
    """The asset of a form: `export_<form>`, of each plate or each study."""
    name = f"export_{form.replace('-', '_')}" + ("_of_study" if of == "study" else "")
    reads = ("evaluation",) if of == "study" else _READS[form]

    @dg.asset(
        name=name,
        description=f"{FORMS[form]}.\n\nA folder for other tools (docs/export.md), written when somebody asks for it.",
        partitions_def=PLATES if of == "plate" else STUDIES,
        deps=reads,
        group_name="exports",
        kinds={"file"},
        code_version="1",
        owners=OWNERS,
        pool="cpu",
    )
    def asset(
        context: dg.AssetExecutionContext,
        config: ExportConfig,
        workspace: WorkspaceResource,
        progress: dg.ResourceParam[ProgressTeller],
    ) -> dg.MaterializeResult:
        opened, key = workspace.open(), [context.partition_key]
        try:
            known = Options.of(config.options)
            strange = sorted(set(config.options) - set(Options.__dataclass_fields__))
            if strange:
                expected = ", ".join(Options.__dataclass_fields__)
                raise InputError(name, "options", strange[0], f"one of {expected}", "Correct it.")
            plates, studies = (key, []) if of == "plate" else ([], key)
            out = Path(config.out).expanduser() if config.out else None
            done = export(opened, form, plates, studies, out, known, progress.of(context))
        except MorphoError as error:
            raise dg.Failure(str(error), allow_retries=not isinstance(error, InputError)) from None
        return dg.MaterializeResult(metadata=_shown(done))

    return asset


def _shown(done: Exported) -> dict[str, Any]:
    notes = {"notes": "\n".join(done.notes)} if done.notes else {}
    return {
        "folder": dg.MetadataValue.path(str(done.folder)),
        "written": done.made,
        "there already": done.kept,
        "files": done.files,
        "megabytes": done.bytes / 1e6,
        **notes,
    }


EXPORTS: Sequence[dg.AssetsDefinition] = [*map(export_asset, FORMS), export_asset("anndata", "study")]
