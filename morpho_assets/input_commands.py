"""The commands about what goes in: `morpho check`, `morpho init`, `morpho samplesheet`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from morpho_assets.errors import InputError

Command = Callable[[str, Callable[[argparse.Namespace], "int | None"], str], argparse.ArgumentParser]


def add_input_commands(command: Command) -> None:
    """Register the three commands with what makes a subcommand of `morpho`."""
    check = command("check", _check, "say what a run would find: settings, sources, platemaps, images, studies")
    check.add_argument("--plate", action="append", default=[], help="a barcode; may be repeated")
    check.add_argument("--all", action="store_true", help="every plate; else the first of each source")
    init = command("init", _init, "write a commented settings file for a folder or a bucket, or the demo's")
    init.add_argument(
        "place", nargs="?", help="folder, samplesheet or s3://bucket/prefix; else it is asked for, or the demo's"
    )
    init.add_argument("--name", default="lab", help="short name of the source (default: %(default)s)")
    _add_store(init)
    sheet = command("samplesheet", _samplesheet, "understand the images of a folder by their names, and list them")
    sheet.add_argument("folder", help="folder or s3://bucket/prefix with the images of a plate")
    sheet.add_argument("--out", type=Path, help="file to write; without it what was understood is shown")
    sheet.add_argument("--pattern", help="how names are read, such as '{well}_s{site}_w{channel}'")
    sheet.add_argument("--plate", help="the barcode, where names do not say it (default: the folder's name)")
    sheet.add_argument("--channel", action="append", default=[], metavar="THEIRS=OURS", help="such as 1=DNA")
    sheet.add_argument("--plane", type=int, help="the plane of a stack to use")
    sheet.add_argument("--time", type=int, help="the time of a series to use")
    sheet.add_argument("--source", default="lab", help="its source, for the table (default: %(default)s)")
    sheet.add_argument("--batch", default="none", help="its batch, for the table (default: %(default)s)")
    sheet.add_argument("--load-data", action="store_true", help="write the Gallery's load_data instead")
    _add_store(sheet)


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint-url", help="address of an object store that is not Amazon's")
    parser.add_argument("--credentials", action="store_true", help="read the object store with your credentials")


def _check(options: argparse.Namespace) -> int:
    from morpho_assets.check import check_settings

    report = check_settings(Path(options.settings).expanduser().resolve(), options.plate, options.all)
    print(report.text())
    return 1 if report.faults else 0


def _init(options: argparse.Namespace) -> None:
    from morpho_assets.gallery.store import Store
    from morpho_assets.init import first_fault, propose, start, write_settings

    file = Path(options.settings).expanduser().resolve()
    place = options.place or _asked(
        "Where do the images, or the tables of measurements, lie? Folder or s3://…; nothing for the demo: "
    )
    if not place:
        if file.exists():
            raise InputError(file, "", "a file that is there already", "no such file", "Name another, or remove it.")
        written = start(file)
        print("\n".join([*(f"wrote     {path}" for path in written), "next: morpho demo"]))
        return
    store = Store(endpoint_url=options.endpoint_url, anonymous=not options.credentials)
    proposal = propose(place, store, options.name)
    written = write_settings(proposal, file)
    print("\n".join([*proposal.seen, *(f"wrote     {path}" for path in written)]))
    fault = first_fault(proposal, file.parent)
    print(f"still to do: {fault}" if fault else "next: morpho check")


def _samplesheet(options: argparse.Namespace) -> None:
    from morpho_assets.gallery.file_names import list_images, load_data, samplesheet
    from morpho_assets.gallery.store import Store

    folder = options.folder if "://" in options.folder else os.path.abspath(os.path.expanduser(options.folder))
    store = Store(endpoint_url=options.endpoint_url, anonymous=not options.credentials)
    chosen = {name: getattr(options, name) for name in ("plane", "time") if getattr(options, name) is not None}
    if options.out is not None and options.out.exists():
        raise InputError(options.out, "", "a file that is there already", "no such file", "Name another, or remove it.")
    listing = list_images(folder, store, options.pattern, options.plate, _pairs(options.channel), chosen)
    print(listing.text())
    if options.out is None:
        print("\nnothing was written: --out names a file")
        return
    text = load_data(listing) if options.load_data else samplesheet(listing, options.source, options.batch)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(f"\nwrote     {options.out}")


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    """`1=DNA` as {"1": "DNA"}. Raises InputError for a text without =, and for a name that is given twice."""
    pairs = [text.partition("=") for text in texts]
    wrong = next((text for text, (theirs, _, ours) in zip(texts, pairs, strict=True) if not theirs or not ours), None)
    names = [ours for _, _, ours in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if wrong is not None or twice is not None:
        found = repr(wrong) if wrong is not None else f"{twice} twice"
        raise InputError("--channel", "", found, "what the names say, =, and our name once", "Such as --channel 1=DNA.")
    return {theirs: ours for theirs, _, ours in pairs}


def _asked(question: str) -> str:
    """The answer of a person at the terminal; nothing where nobody is there to ask."""
    return input(question).strip() if sys.stdin.isatty() else ""
