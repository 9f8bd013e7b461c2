"""What the platform made, written so that it opens elsewhere: AnnData, OME-Zarr, crops, the Gallery's layout, tables.

An export reads commits of the ledger and writes files outside the lake, a site or a plate in memory at a time
(docs/export.md). What lies whole in its folder, made from the same, is kept; nothing half-written stays.
"""

FORMS = {
    "anndata": "AnnData of cells and wells of plates, of wells and treatments of studies",
    "ome-zarr": "OME-Zarr 0.5 plates: images and label images, for napari and other viewers",
    "crops": "single cells cut out as TIFF, a folder for each class, for training elsewhere",
    "cytotable": "single cells in Parquet as CytoTable writes them, for pycytominer",
    "gallery": "the Gallery's folders: load_data, platemap, CellProfiler's tables, backend, profiles",
    "labels": "a label image for each compartment as TIFF, with a load_data, for CellProfiler",
}
"""What each form is, in a line."""
