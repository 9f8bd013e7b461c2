"""The `morpho` command: the few things a terminal user needs."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morpho_assets.design_command import add_design_command
from morpho_assets.errors import InputError, MorphoError
from morpho_assets.export_command import add_export_command
from morpho_assets.input_commands import add_input_commands
from morpho_assets.lineage_command import add_lineage_command
from morpho_assets.place_command import add_place_command
from morpho_assets.refusals import refusal
from morpho_assets.segment_command import add_segment_command
from morpho_assets.verdict_command import add_verdict_command

if TYPE_CHECKING:
    import dagster as dg

    from morpho_assets.workspace import Workspace

QUERIES = (
    (
        "Which treatments can be told from the controls, and what would chance give?",
        "SELECT treatment, round(mAP, 2) AS mAP, round(chance, 2) AS chance, round(q_value, 4) AS q_value "
        "FROM treatments WHERE variant = 'cellprofiler' ORDER BY q_value, mAP DESC LIMIT 5",
    ),
    (
        "How do the feature spaces compare, and what do shuffled treatments give?",
        "SELECT variant, round(value, 3) AS mAP, round(chance, 3) AS chance, n AS treatments "
        "FROM metrics WHERE metric = 'mAP' AND scope = 'overall' ORDER BY value DESC",
    ),
    (
        "How many cells are behind each plate, and how large are their nuclei?",
        "SELECT Metadata_Plate AS plate, count(*) AS cells, round(median(Nuclei_AreaShape_Area), 1) AS nuclear_area_px "
        "FROM single_cells GROUP BY ALL ORDER BY ALL",
    ),
)
"""What the demo asks its database at the end."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; a mistake of ours or the user's is one message and exit status 1, Ctrl-C is 130."""
    options = _parser().parse_args(arguments)
    _set_environment(Path(options.settings).expanduser().resolve())
    try:
        return int(options.run(options) or 0)
    except MorphoError as error:
        print(f"morpho: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        sentence = refusal(error)
        if sentence is None:
            raise
        print(f"morpho: {sentence}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("morpho: cancelled. What is finished is kept; the same command goes on from there.", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="morpho", description="Cell Painting plates to profiles, embeddings and answers."
    )
    default = os.environ.get("MORPHO_SETTINGS", "morpho.yaml")
    parser.add_argument("--settings", default=default, help="the settings file (default: %(default)s)")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        return added

    def named(added: argparse.ArgumentParser) -> argparse.ArgumentParser:
        added.add_argument("--plate", action="append", default=[], help="a barcode; may be repeated")
        added.add_argument("--study", action="append", default=[], help="a study; may be repeated")
        return added

    demo = command("demo", _demo, "make a synthetic gallery, run every asset on it, and query the result")
    demo.add_argument("--size", default="demo", help="tiny, demo or plate384 (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the simulator")
    plates = command("plates", _plates, "list plates, or register some so that the UI shows them, or take some out")
    plates.add_argument("action", choices=["list", "add", "remove"])
    plates.add_argument("plate", nargs="*", help="barcodes; `add` without any adds all that the sources have")
    plan = named(command("plan", _plan, "what would be made, and why; of all registered plates unless some are named"))
    plan.add_argument("--look", action="store_true", help="look at the sources first; else what was seen last counts")
    named(command("status", _status, "one row per plate: stage, sites done and failed, flags, gate, next step"))
    run = named(command("run", _run, "make what is stale of plates and studies, and the catalog"))
    run.add_argument("--force", action="store_true", help="also what is up to date, from nothing")
    named(command("retry", _retry, "try again what failed: sites, and stages that are being backed off from"))
    waive = command("waive", _waive, "let a closed gate of a plate pass")
    waive.add_argument("check", help="name of the check, such as few_failed_sites")
    waive.add_argument("--plate", required=True, help="the barcode")
    waive.add_argument("--reason", required=True, help="why; it is kept beside the commit")
    add_input_commands(command)
    add_design_command(command)
    add_export_command(command)
    add_lineage_command(command)
    add_place_command(command)
    add_segment_command(command)
    add_verdict_command(command)
    command("catalog", _catalog, "publish the database; mends one that was moved or copied with its lake")
    clean = command("clean", _clean, "remove files that no commit names any more")
    clean.add_argument("--days", type=float, default=1.0, help="only those older than this (default: %(default)s)")
    sql = command("sql", _sql, "ask the published database")
    sql.add_argument("query", help='a statement, such as "SHOW TABLES"')
    ui = command("ui", _ui, "start the Dagster UI on this machine")
    ui.add_argument("--port", type=int, default=3000)
    return parser


def _set_environment(settings: Path) -> None:
    """What Dagster's processes need: its home and state beside the settings file, and which settings are in force."""
    os.environ["MORPHO_SETTINGS"] = str(settings)
    # Threads of torch and scikit-learn that wait actively take the cores from those that work: ten times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("DAGSTER_HOME", str(settings.parent))
    os.environ.setdefault("MORPHO_STATE_DIR", str(settings.parent / "data" / "dagster"))


def _workspace() -> Workspace:
    from morpho_assets.workspace import Workspace

    return Workspace.open(Path(os.environ["MORPHO_SETTINGS"]))


def _instance() -> dg.DagsterInstance:
    from morpho_assets.assets.launching import open_instance
    from morpho_assets.init import start_instance

    state, home = Path(os.environ["MORPHO_STATE_DIR"]), Path(os.environ["DAGSTER_HOME"])
    state.mkdir(parents=True, exist_ok=True)
    if home == Path(os.environ["MORPHO_SETTINGS"]).parent:
        start_instance(home)
    return open_instance(home, state)


def _demo(options: argparse.Namespace) -> int:
    from morpho_assets.init import start
    from morpho_assets.simulator import write_gallery
    from morpho_assets.terminal import TerminalProgress

    file = Path(os.environ["MORPHO_SETTINGS"])
    if not file.exists():
        print("\n".join(f"wrote {path}" for path in start(file)))
    workspace = _workspace()
    source = next((s for s in workspace.settings.sources if s.name == "demo" and s.kind == "gallery"), None)
    if source is None:
        found = ", ".join(s.name for s in workspace.settings.sources) or "none"
        raise InputError(
            options.settings, "sources", found, "a source named demo", "`morpho init` in an empty folder writes one."
        )
    with TerminalProgress() as progress:
        plates = write_gallery(
            source.root,
            options.size,
            options.seed,
            lambda done, total: progress("gallery", done, total),
            workspace.settings.compute.processes,
        )
    failed = _make(workspace, plates, ["demo"])
    print(f"\nReport:   {Path(workspace.settings.reports) / 'demo' / 'report.html'}")
    print(f"Database: {workspace.settings.catalog}\n")
    for question, query in QUERIES:
        print(f'{question}\n  morpho sql "{query}"')
        _print_table(query)
    return failed


def _plates(options: argparse.Namespace) -> None:
    workspace = _workspace()
    known = workspace.plates()
    with _instance() as instance:
        registered = set(instance.get_dynamic_partitions("plate"))
        if options.action == "add":
            workspace.require(options.plate, [])
            instance.add_dynamic_partitions("plate", options.plate or known)
        if options.action == "remove":
            for plate in options.plate:
                if plate not in registered:
                    found = ", ".join(sorted(registered)[:10]) or "none"
                    raise InputError("plates", plate, "no registered plate", f"one of {found}", "Check the barcode.")
                instance.delete_dynamic_partition("plate", plate)
        registered = set(instance.get_dynamic_partitions("plate"))
    profiled = {own.key for name, own in workspace.lake.ledger.state().commits if name == "well_profiles"}
    for plate in sorted(registered | set(known)):
        done = "profiles" if plate in profiled else ""
        source = "" if plate in known else "no source has it"
        print(f"{plate}\t{'registered' if plate in registered else 'not registered'}\t{done}{source}".rstrip())


def _plan(options: argparse.Namespace) -> None:
    workspace = _workspace()
    plates, studies = _named(workspace, options)
    tasks = workspace.plan(plates, studies, look=options.look)
    state = workspace.state(plates, studies)
    for key in [*plates, *studies]:
        mine = [task for task in tasks if task.partition.key == key]
        print(f"{key}: {'up to date' if not mine else ''}{_seen(state, key) if key in plates else ''}")
        for task in mine:
            part = f" ({task.partition.part})" if task.partition.part else ""
            held = f"; held: {task.held}" if task.held else ""
            print(f"  {task.stage + part:<24} {'; '.join(task.reasons)}{held}")


def _seen(state: Any, plate: str) -> str:
    """How old what is known of a plate's sources is."""
    from datetime import UTC, datetime

    from morpho_assets.lake.ledger import Partition

    seen = state.observations.get(Partition("plate", plate))
    if seen is None:
        return " (nobody has looked at its sources: `morpho plan --look`)"
    hours = (datetime.now(UTC) - datetime.fromisoformat(seen.at)).total_seconds() / 3600
    return f" (its sources were looked at {hours:.1f} hours ago)"


def _status(options: argparse.Namespace) -> None:
    from morpho_assets.status import status_table

    workspace = _workspace()
    plates, _ = _named(workspace, options)
    _print_frame(status_table(workspace, plates))


def _run(options: argparse.Namespace) -> int:
    if not options.plate and not options.study:
        raise InputError("morpho run", "", "neither --plate nor --study", "at least one", "Name a plate or a study.")
    workspace = _workspace()
    workspace.require(options.plate, options.study)
    return _make(workspace, options.plate, options.study, "force" if options.force else "")


def _retry(options: argparse.Namespace) -> int:
    workspace = _workspace()
    workspace.require(options.plate, options.study)
    plates, studies = _named(workspace, options)
    state = workspace.state(plates, studies)
    failed = {own.key for (_, own), commit in state.commits.items() if commit.sites.failed}
    failed |= {own.key for _, own in state.attempts}
    return _make(workspace, [plate for plate in plates if plate in failed], options.study, "retry")


def _waive(options: argparse.Namespace) -> None:
    workspace = _workspace()
    closed = [
        commit
        for (_, own), commit in workspace.state([options.plate]).commits.items()
        if own.key == options.plate and options.check in {verdict.check for verdict in commit.closed}
    ]
    if not closed:
        raise InputError("morpho waive", options.check, "no such gate is closed", f"a closed gate of {options.plate}",
                         "`morpho status` shows them.")  # fmt: skip
    for commit in closed:
        workspace.lake.ledger.waive(commit, options.check, options.reason)
        print(f"{commit.stage} of {options.plate}, commit {commit.number}: {options.check} is waived")


def _catalog(options: argparse.Namespace) -> int:
    from morpho_assets.terminal import TerminalProgress

    workspace = _workspace()
    with _instance() as instance, TerminalProgress() as progress:
        return _publish(workspace, instance, progress)


def _clean(options: argparse.Namespace) -> None:
    from morpho_assets.publication import clean

    swept = clean(_workspace(), options.days)
    print(f"{swept.files} files removed, {swept.bytes / 1e6:.1f} MB; {swept.kept} files are named by commits")


def _sql(options: argparse.Namespace) -> None:
    _print_table(options.query)


def _ui(options: argparse.Namespace) -> None:
    """Replaces this process by `dagster dev`, bound to loopback."""
    _workspace()  # a wrong settings file is one message here, not a stack of them in the UI
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            raise InputError("morpho ui", f"port {options.port}", "somebody who answers there already", "a free port",
                             "Open it in the browser if it is yours, or choose another with --port.")  # fmt: skip
    _instance().dispose()  # its tables stand before the UI's processes look for them at once
    root = Path(os.environ["MORPHO_SETTINGS"]).parent
    place = ["-w", "workspace.yaml"] if (root / "workspace.yaml").exists() else ["-m", "morpho_assets.definitions"]
    os.chdir(root)
    os.execv(
        sys.executable, [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(options.port), *place]
    )


def _named(workspace: Workspace, options: argparse.Namespace) -> tuple[list[str], list[str]]:
    """The plates and studies that a command names; without any, all registered plates."""
    workspace.require(options.plate, options.study)
    if options.plate or options.study:
        return options.plate, options.study
    with _instance() as instance:
        return sorted(instance.get_dynamic_partitions("plate")), []


def _make(workspace: Workspace, plates: Sequence[str], studies: Sequence[str], how: str = "") -> int:
    """Make plates, then studies, then the catalog, one after the other whatever fails; the exit status."""
    from morpho_assets.terminal import TerminalProgress

    if not how and _is_current(workspace, plates, studies):  # said without opening Dagster, which takes seconds
        with TerminalProgress() as progress:
            for kind, keys in (("plate", plates), ("study", studies)):
                for key in keys:
                    progress.title(f"{kind} {key}: up to date")
            progress.title("catalog: up to date")
        return 0
    failed = []
    with _instance() as instance, TerminalProgress() as progress:
        instance.add_dynamic_partitions("plate", list(plates))
        instance.add_dynamic_partitions("study", list(studies))
        for kind, keys in (("plate", plates), ("study", studies)):
            for number, key in enumerate(keys, start=1):
                place = f" ({number} of {len(keys)})" if len(keys) > 1 else ""
                try:
                    problem = _make_one(workspace, instance, progress, kind, key, place, how)
                except MorphoError as error:
                    problem = str(error)
                if problem:
                    failed.append(key)
                    print(f"morpho: {kind} {key}: {problem}", file=sys.stderr)
        published = _publish(workspace, instance, progress)
    if len(failed) > 1:
        print(f"morpho: not made: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else published


def _is_current(workspace: Workspace, plates: Sequence[str], studies: Sequence[str]) -> bool:
    """Whether there is nothing to make and nothing to publish, and Dagster has been here to know these partitions."""
    from morpho_assets.publication import is_behind

    state = Path(os.environ["MORPHO_STATE_DIR"])
    if not state.is_dir() or not any(state.iterdir()):
        return False
    try:
        return not workspace.plan(plates=plates, studies=studies) and not is_behind(workspace)
    except MorphoError:
        return False  # told where it is made, of the plate that it is of, and the others are made


def _make_one(
    workspace: Workspace, instance: dg.DagsterInstance, progress: Any, kind: str, key: str, place: str, how: str
) -> str | None:
    """Make what is stale of a plate or a study; what stopped it in one sentence, or None."""
    from morpho_assets.assets.launching import launch
    from morpho_assets.assets.resources import FORCE, RETRY
    from morpho_assets.stages import PLATE_STAGES, STUDY_STAGES

    named = {"plates" if kind == "plate" else "studies": [key]}
    tasks = workspace.plan(**named)  # type: ignore[arg-type]
    stale = {task.stage for task in tasks}
    stages = [name for name in (PLATE_STAGES if kind == "plate" else STUDY_STAGES) if how or name in stale]
    progress.title(f"{kind} {key}{place}" + ("" if stages else ": up to date"))
    held = next((task.held for task in tasks if task.held and not task.waits), None)
    if not stages or (held and not how):
        return held
    tags = {"force": {FORCE: "true"}, "retry": {RETRY: "true"}}.get(how, {})
    problem = launch(instance, progress, stages, key, tags)
    if problem is None:
        return None
    gates = (task.held for task in workspace.plan(**named, look=False) if task.held)  # type: ignore[arg-type]
    return next(gates, problem)


def _publish(workspace: Workspace, instance: dg.DagsterInstance, progress: Any) -> int:
    from morpho_assets.assets.launching import launch
    from morpho_assets.publication import is_behind

    behind = is_behind(workspace)
    progress.title("catalog" if behind else "catalog: up to date")
    if not behind:
        return 0
    problem = launch(instance, progress, ["catalog"], None)
    if problem:
        print(f"morpho: {problem}", file=sys.stderr)
    return 1 if problem else 0


def _print_table(query: str) -> None:
    from morpho_assets.lake.catalog import query_catalog

    workspace = _workspace()
    _print_frame(query_catalog(workspace.settings.catalog, query, workspace.lake))


def _print_frame(frame: Any) -> None:
    import polars as pl

    with pl.Config(tbl_rows=100, tbl_cols=20, tbl_width_chars=160, fmt_str_lengths=60, tbl_hide_dataframe_shape=True,
                   tbl_hide_column_data_types=True):  # fmt: skip
        print(frame)


if __name__ == "__main__":
    sys.exit(main())
