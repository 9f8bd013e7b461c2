"""What is known of simulated plates: the truth tables that lie beside a synthetic gallery (docs/simulator.md).

Real plates have none. Reading is all that happens here; what is made of it is for evaluation.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from morpho_assets.gallery.store import Store
from morpho_assets.gallery.text import decoding
from morpho_assets.lake.lake import Snapshot


@dataclass(frozen=True)
class TruthFolder:
    """Where the truth of one plate lies: `<base>/workspace/truth/<batch>/<plate>`, in a source's store."""

    store: Store
    base: str
    batch: str
    plate: str

    @property
    def path(self) -> str:
        return f"{self.base}/workspace/truth/{self.batch}/{self.plate}"

    @property
    def exists(self) -> bool:
        return bool(self.store.glob(f"{self.path}/wells.parquet"))

    def table(self, name: str) -> pl.DataFrame:
        """A table of the plate: `wells`, `sites`, `cells` or `expression`."""
        return self._parquet(f"{self.path}/{name}")

    def treatments(self) -> pl.DataFrame:
        """The treatments of the plate's experiment."""
        return self._parquet(f"{self.base}/workspace/truth/treatments")

    def _parquet(self, path: str) -> pl.DataFrame:
        file = f"{path}.parquet"
        with decoding(file, "Parquet file", "Write the synthetic gallery again."):
            return pl.read_parquet(io.BytesIO(self.store.read(file).body))


@dataclass(frozen=True)
class Truth:
    """The truth of some plates: `wells` and `sites` of all of them, `treatments` of their experiments, and `folders`
    by plate, for the label images."""

    wells: pl.DataFrame
    sites: pl.DataFrame
    treatments: pl.DataFrame
    folders: Mapping[str, TruthFolder]

    def labels(self, plate: str, well: str, site: int, compartment: str) -> bytes:
        """The TIFF file of a site's true `nuclei` or `cells`. Raises ImageError where it is missing."""
        folder = self.folders[plate]
        return folder.store.read(f"{folder.path}/masks/{well}-{site}-{compartment}.tiff").body


def truth_folders(inputs: Snapshot, sources: Mapping[str, Any]) -> dict[str, TruthFolder]:
    """Where the truth of plates (plate to source) would lie; of those alone whose source is a gallery's layout."""
    folders = {}
    for plate, source in sources.items():
        base = getattr(source, "base", None)
        if base is not None and inputs.read("sites", plate).height:
            batch = inputs.read("wells", plate)["Metadata_Batch"][0]
            folders[plate] = TruthFolder(source.store(), base, batch, plate)
    return folders


def read_truth(folders: Mapping[str, TruthFolder]) -> Truth | None:
    """The truth of those plates (by barcode) that have some; None where none has, as with every real plate."""
    known = {plate: folder for plate, folder in folders.items() if folder.exists}
    if not known:
        return None
    experiments = {folder.base: folder for folder in known.values()}
    treatments = pl.concat([folder.treatments() for folder in experiments.values()])
    return Truth(
        wells=pl.concat([folder.table("wells") for folder in known.values()]),
        sites=pl.concat([folder.table("sites") for folder in known.values()]),
        treatments=treatments.unique("treatment", keep="first", maintain_order=True),
        folders=known,
    )
