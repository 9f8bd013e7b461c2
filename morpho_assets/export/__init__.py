"""What the platform made, written so that it opens elsewhere: AnnData, OME-Zarr, crops, the Gallery's layout, tables.

An export reads commits of the ledger and writes files outside the lake, a site or a plate in memory at a time
(docs/export.md). What lies whole in its folder, made from the same, is kept; nothing half-written stays.
"""
