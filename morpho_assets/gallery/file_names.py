"""Images of a folder by what their names say: well, site, channel. From it come a samplesheet or a load_data.

A pattern is a part of the path with names in braces, such as `{well}_s{site}_w{channel}` (ImageXpress); `{}` is
anything. The usual microscopes' are tried without one, and an Opera Phenix's index says all by itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from morpho_assets.errors import InputError
from morpho_assets.gallery.phenix import index_sites, read_index
from morpho_assets.gallery.source import read_file
from morpho_assets.gallery.store import Store
from morpho_assets.gallery.text import listed
from morpho_assets.gallery.wells import row_number, well_name, well_position

PATTERNS = {
    "Opera Phenix": "r{row}c{col}f{site}p{plane}-ch{channel}sk{time}",
    "CellVoyager": "{well}_T{time}F{site}L{}A{}Z{plane}C{channel}",
    "ScanR": "--{well}--P{site}--Z{plane}--T{time}--{channel}",
    "IN Cell": "{well}(fld {site} wv {channel} - {})",
    "ImageXpress": "{well}_s{site}_w{channel}",
    "ImageXpress, one site a well": "{well}_w{channel}",
    "well, site and stain": "{well}_s{site}_{channel}",
}
"""What microscopes call their images, the more particular first."""

_PARTS = {
    "plate": r"[^/]+",
    "well": r"(?<![A-Za-z0-9])(?!(?-i:s)[0-9])[A-Za-z]{1,2}[ -]{0,3}[0-9]{1,3}",  # s1 is a site
    "row": r"[0-9]{1,2}|[A-Za-z]{1,2}",
    "col": r"[0-9]{1,2}",
    "site": r"[0-9]{1,5}",
    "channel": r"[A-Za-z0-9]+(?:[ .-]+[A-Za-z0-9]+)*",
    "plane": r"[0-9]{1,5}",
    "time": r"[0-9]{1,6}",
}
_IMAGE = re.compile(r"\.(ome\.)?(tiff?|png)$", re.IGNORECASE)
_UUID = re.compile(r"[0-9A-F]{8}(-[0-9A-F]{4}){3}-[0-9A-F]{12}$", re.IGNORECASE)
_INDEX = re.compile(r"/Index(\.idx)?\.xml$")
_CHOSEN = ("plane", "time")


@dataclass(frozen=True)
class Listing:
    """The images of one or more plates: a row each with plate, well, site, channel, path and frame; how they were
    understood, and the names of images that were not."""

    images: pl.DataFrame
    pattern: str
    unknown: tuple[str, ...]
    thumbnails: int

    def text(self) -> str:
        """What was understood, for a person to look at."""
        sites = self.images.select("plate", "well", "site").n_unique()
        channels = self.images.group_by("channel", maintain_order=True).len().rows()
        lines = [
            f"{self.images.height} images by {self.pattern}",
            f"plates    {listed(self.images['plate'].unique(maintain_order=True))}",
            f"wells     {self.images.select('plate', 'well').n_unique()}: {_ends(self.images['well'])}",
            f"sites     {sites}: {_ends(self.images['site'])} a well",
            *(f"channel   {name}: {number} images" for name, number in channels),
        ]
        first = self.images.row(0, named=True)
        shown = ", ".join(f"{key} {first[key]}" for key in ("well", "site", "channel"))
        lines.append(f"such as   {first['path'].rsplit('/', 1)[-1]}: {shown}")
        missing = sites * len(channels) - self.images.height
        if missing:
            lines.append(f"missing   {missing} images: not every site has every channel")
        if self.unknown:
            lines.append(
                f"left out  {len(self.unknown)} images that the pattern does not fit: {listed(self.unknown, 3)}"
            )
        if self.thumbnails:
            lines.append(f"left out  {self.thumbnails} thumbnails")
        return "\n".join(lines)


def list_images(
    folder: str,
    store: Store,
    pattern: str | None = None,
    plate: str | None = None,
    channels: Mapping[str, str] | None = None,
    chosen: Mapping[str, int] | None = None,
) -> Listing:
    """The images in a folder (or below a prefix of a bucket) and its subfolders.

    `pattern` says how names are read; without one the folder's index or the usual pattern that fits most is taken.
    `plate` is the barcode where the pattern has none, by default the folder's name. `channels` maps what names say of a
    channel to ours; where the pattern has no channel, the number of a plane in the file. `chosen` are the `plane` and
    the `time` to use. Raises InputError where nothing is understood, or an image would come twice.
    """
    folder = folder.rstrip("/")
    paths = list(store.stamps(f"{folder}/**"))
    index = [path for path in paths if _INDEX.search(path)]
    if pattern is None and len({path.rpartition("/")[0] for path in index}) == 1:
        return _indexed(index[0], store, plate, dict(channels or {}), chosen or {})
    images = [path for path in paths if _IMAGE.search(path)]
    thumbnails = [path for path in images if "_thumb" in path.lower()]
    names = {path: _stem(path, store.resolve(folder)) for path in images if path not in thumbnails}
    if not names:
        raise InputError(folder, "", f"no images among {len(paths)} files", "TIFF or PNG files", "Check the folder.")
    known = (
        {f"`{pattern}`": pattern} if pattern else {f"{who}'s names, `{text}`": text for who, text in PATTERNS.items()}
    )
    how, found = max(((how, _matched(names, text)) for how, text in known.items()), key=lambda pair: len(pair[1]))
    if not found:
        seen = f"names such as {listed((path.rsplit('/', 1)[-1] for path in names), 3)}"
        todo = "Give a pattern, such as --pattern '{well}_s{site}_w{channel}'."
        raise InputError(folder, "", seen, f"names like {listed(known, 9)}", todo)
    rows = [{**_place(match, plate, folder, names[path]), "path": path} for path, match in found.items()]
    frame = _chosen(pl.DataFrame(rows, schema=_SCHEMA), folder, chosen or {})
    frame = _named(frame, folder, dict(channels or {}))
    unknown = tuple(path.rsplit("/", 1)[-1] for path in names if path not in found)
    return Listing(frame, how, unknown, len(thumbnails))


def samplesheet(listing: Listing, source: str, batch: str) -> str:
    """The images as a samplesheet that a source of kind `samplesheet` reads."""
    places = [well_position(well) for well in listing.images["well"]]
    frame = listing.images.select("channel", "path", "plate", "well", "site", "frame").with_columns(
        source=pl.lit(source),
        batch=pl.lit(batch),
        row=pl.Series([row for row, _ in places], dtype=pl.Int64),
        col=pl.Series([column for _, column in places], dtype=pl.Int64),
    )
    names = ["channel", "path", "source", "batch", "plate", "well", "site", "row", "col"]
    return frame.select(*names, *(["frame"] if frame["frame"].count() else [])).write_csv()


def load_data(listing: Listing) -> str:
    """The images as the Gallery's load_data: a row a site, with URL_Orig<Channel> and, where it is needed, Frame_."""
    keys = ["plate", "well", "site"]
    wide = listing.images.pivot("channel", index=keys, values=["path", "frame"], maintain_order=True)
    channels = listing.images["channel"].unique(maintain_order=True).to_list()
    columns = [pl.col(f"path_{channel}").alias(f"URL_Orig{channel}") for channel in channels]
    if listing.images["frame"].count():
        columns += [pl.col(f"frame_{channel}").alias(f"Frame_Orig{channel}") for channel in channels]
    return wide.select(*columns, *(pl.col(key).alias(f"Metadata_{key.title()}") for key in keys)).write_csv()


_SCHEMA = {
    **dict.fromkeys(("plate", "well"), pl.String),
    "site": pl.Int64,
    "channel": pl.String,
    **dict.fromkeys(_CHOSEN, pl.Int64),
    "path": pl.String,
}


def _matched(names: Mapping[str, str], pattern: str) -> dict[str, re.Match[str]]:
    expression = _expression(pattern)
    return {path: match for path, name in names.items() if (match := expression.search(name)) and _is_well(match)}


def _expression(pattern: str) -> re.Pattern[str]:
    """A pattern as a regular expression. Raises InputError for a name in braces that is none of ours."""
    parts, seen = ["(?<![A-Za-z0-9])" if pattern[:1].isalnum() else ""], set[str]()
    for token in re.split(r"(\{[^{}]*\})", pattern):
        name = token.strip("{}")
        if not token.startswith("{"):
            parts.append(re.escape(token))
        elif not name:
            parts.append("[^/]*?")
        elif name not in _PARTS:
            expected = ", ".join(f"{{{known}}}" for known in _PARTS)
            raise InputError("pattern", pattern, token, f"one of {expected} or {{}}", "Correct the pattern.")
        else:
            parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>{_PARTS[name]})")
            seen.add(name)
    if not ({"well"} <= seen or {"row", "col"} <= seen):
        raise InputError("pattern", pattern, "no {well}, nor {row} and {col}", "one of them", "Correct the pattern.")
    return re.compile("".join(parts), re.IGNORECASE)


def _is_well(match: re.Match[str]) -> bool:
    try:
        _well_of(match.groupdict())
    except ValueError:
        return False
    return True


def _well_of(groups: Mapping[str, str | None]) -> str:
    if groups.get("well"):
        return well_name(*well_position(str(groups["well"])))
    return well_name(*well_position(f"r{row_number(str(groups['row']))}c{groups['col']}"))


def _place(match: re.Match[str], plate: str | None, folder: str, name: str) -> dict[str, object]:
    """Plate, well, site, channel, plane and time of an image that is called so below a folder."""
    groups, well = match.groupdict(), _well_of(match.groupdict())
    barcode = groups.get("plate") or plate or _plate_of(folder, name.rpartition("/")[0], well)
    numbers = {name: int(groups[name]) if groups.get(name) else None for name in _CHOSEN}
    site = int(groups["site"]) if groups.get("site") else 1
    return {"plate": barcode, "well": well, "channel": groups.get("channel"), "site": site, **numbers}


def _chosen(frame: pl.DataFrame, folder: str, chosen: Mapping[str, int]) -> pl.DataFrame:
    """The images of one plane and one time. Raises InputError where there are several and none is chosen."""
    for name in _CHOSEN:
        numbers = frame[name].drop_nulls().unique().sort().to_list()
        if name in chosen:
            frame = frame.filter(pl.col(name) == chosen[name])
            if not frame.height:
                raise InputError(folder, name, listed(map(str, numbers), 5), str(chosen[name]), "Choose one of these.")
        elif len(numbers) > 1:
            todo = f"Choose one with --{name}, or project the stack."
            raise InputError(folder, name, f"{len(numbers)} of them, {listed(map(str, numbers), 5)}", "one", todo)
    return frame.drop(_CHOSEN)


def _named(frame: pl.DataFrame, folder: str, channels: dict[str, str]) -> pl.DataFrame:
    """Channels under our names, in the order of theirs, and `frame` where a file holds all. Raises InputError."""
    if frame["channel"].null_count() == frame.height:
        if not channels:
            todo = "Name the planes of the files, such as --channel 0=DNA --channel 1=ER."
            raise InputError(folder, "", "names without a channel", "a channel in each name, or planes", todo)
        planes = pl.DataFrame({"frame": [int(number) for number in channels], "channel": list(channels.values())})
        frame = frame.drop("channel").join(planes, how="cross")
    else:
        said = sorted(frame["channel"].unique().to_list(), key=lambda name: (len(name), name))
        unknown = [name for name in channels if name not in said and name.lstrip("0") not in said]
        if unknown:
            raise InputError(folder, "channel", listed(said), unknown[0], "Correct --channel.")
        ours = {name: channels.get(name) or channels.get(name.lstrip("0")) or _channel(name) for name in said}
        frame = frame.with_columns(pl.col("channel").replace_strict(ours), frame=pl.lit(None, pl.Int64))
        frame = frame.sort(pl.col("channel").replace_strict(list(ours.values()), range(len(ours))))
    frame = frame.sort("plate", "well", "site", maintain_order=True)
    keys = ["plate", "well", "site", "channel"]
    twice = frame.filter(pl.struct(keys).is_duplicated())
    if twice.height:
        first = twice.row(0, named=True)
        same = twice.filter(pl.all_horizontal(pl.col(key) == first[key] for key in keys))["path"]
        found = f"{len(same)} images of one channel: {listed((path.rsplit('/', 1)[-1] for path in same), 3)}"
        todo = "Give a pattern that tells them apart, or name the folder of one plate."
        raise InputError(folder, f"well {first['well']}, site {first['site']}", found, "one", todo)
    return frame


def _indexed(file: str, store: Store, plate: str | None, stains: dict[str, str], chosen: Mapping[str, int]) -> Listing:
    """The images that an Opera Phenix's index names."""
    index = read_index(read_file(store, file), file)
    barcode = plate or str(index["plate"][0]) or _plate_of(file.rpartition("/")[0])
    named = index.with_columns(plate=pl.lit(barcode))
    sites = index_sites(named, file, barcode, stains, None, chosen.get("plane"), chosen.get("time"))
    frame = sites.select(
        plate="Metadata_Plate", well="Metadata_Well", site="Metadata_Site", channel="channel", path="uri", frame="frame"
    )
    return Listing(frame, f"the index {file.rsplit('/', 1)[-1]}", (), 0)


def _stem(path: str, folder: str) -> str:
    """The path below the folder, without its ending and the random name that ImageXpress adds."""
    return _UUID.sub("", _IMAGE.sub("", path.removeprefix(folder)))


def _plate_of(folder: str, below: str = "", well: str = "") -> str:
    """The barcode of images: the first folder below the one that was named, where there is one, else that one's name.

    Folders that every plate has (Images, TimePoint_1), and that of the image's own well, are passed over.
    """

    def is_usual(part: str) -> bool:
        try:
            return well_name(*well_position(part)) == well
        except ValueError:
            return re.fullmatch(r"images?|(TimePoint|ZStep)_?\d*", part, re.IGNORECASE) is not None

    names = [*below.split("/"), *reversed(folder.split("/"))]
    name = next((part for part in names if part and not is_usual(part)), "plate")
    return re.sub(r"[^A-Za-z0-9._-]", "_", name.split("__")[0])


def _channel(name: str) -> str:
    """A channel's name without what columns of features cannot have."""
    plain = re.sub(r"[^A-Za-z0-9]", "", name)
    return f"Channel{plain.lstrip('0') or '0'}" if plain.isdigit() else plain


def _ends(values: pl.Series) -> str:
    ordered: Sequence[object] = values.unique().sort().to_list()
    return f"{ordered[0]} to {ordered[-1]}" if len(ordered) > 1 else str(ordered[0])
