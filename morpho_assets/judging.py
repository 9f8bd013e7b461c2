"""Recording what a person says of a plate, a well or a site: looked up on the plate, then kept in the ledger."""

from __future__ import annotations

from datetime import datetime, timedelta

from morpho_assets.errors import InputError
from morpho_assets.gallery.wells import well_name, well_position
from morpho_assets.lake.judgements import Judgement, Said, place_of
from morpho_assets.lake.ledger import Partition, State, now
from morpho_assets.workspace import Workspace


def judge(
    workspace: Workspace, said: Said, plate: str, well: str | None, site: int | None, reason: str, who: str
) -> Judgement:
    """Record a judgement of a plate, or of a well or a site of it, and return it; the plan knows of it at once.

    Raises InputError for a place that the plate does not have, a withdrawal where nothing is in force, and one without
    a reason or a name.
    """
    state = workspace.state([plate])
    for name, text in (("reason", reason), ("name", who)):
        if not text.strip():
            raise InputError("verdict", name, "nothing", f"a {name}", "It is kept beside the plate; say it.")
    well = _well(well)
    _require_place(workspace, state, plate, well, site)
    place = place_of(well, site)
    if said == "withdrawn" and place not in state.in_force(plate):
        there = ", ".join(each or "the plate" for each in state.in_force(plate)) or "none"
        found = "no verdict in force"
        raise InputError("verdict", f"plate {plate}, {place or 'the plate'}", found, f"one of: {there}", "Name it.")
    # the last one is in force: also where the clock was set back since the one before
    at = max([now(), *(_after(each.at) for each in state.judgements.get(plate, ()))])
    judgement = Judgement(plate=plate, well=well, site=site, said=said, who=who.strip(), reason=reason.strip(), at=at)
    workspace.lake.ledger.judge(judgement)
    return judgement


def _after(at: str) -> str:
    """A moment later, in the ledger's form."""
    return (datetime.fromisoformat(at) + timedelta(microseconds=1)).isoformat(timespec="microseconds")


def _well(name: str | None) -> str | None:
    try:
        return None if name is None else well_name(*well_position(name))
    except ValueError as error:
        raise InputError("verdict", "well", str(error), "a well such as A01", "Correct it.") from None


def _require_place(workspace: Workspace, state: State, plate: str, well: str | None, site: int | None) -> None:
    """Raise InputError for a plate that nobody has, and for a well or a site that it does not have."""
    own = Partition("plate", plate)
    if not any(partition == own for _, partition in state.commits):
        workspace.require([plate], [])
    if well is None:
        if site is not None:
            raise InputError("verdict", f"site {site}", "no well", "the site's well, too", "Name it.")
        return
    named = f"plate {plate}, {place_of(well, site)}"
    commits = [state.commits[name, own] for name in ("plate_manifest", "single_cells") if (name, own) in state.commits]
    if not commits:
        raise InputError("verdict", named, "no manifest yet", "a plate whose wells are known",
                         f"`morpho run --plate {plate}` reads it.")  # fmt: skip
    tables = workspace.lake.snapshot(commits)
    tables_of_sites = [name for name in ("sites", "measured_sites") if tables.has(name, plate)]
    sites = {place for name in tables_of_sites
             for place in tables.read(name, plate).select("Metadata_Well", "Metadata_Site").iter_rows()}  # fmt: skip
    wells = {each for each, _ in sites} or set(tables.read("wells", plate)["Metadata_Well"])
    if well not in wells:
        raise InputError("verdict", named, "no such well with images", f"one of {len(wells)}", "Check the well.")
    if site is not None and (well, site) not in sites:
        known = ", ".join(str(number) for number in sorted(number for each, number in sites if each == well)) or "none"
        raise InputError("verdict", named, "no such site", f"a site of the well: {known}", "Check the site.")
