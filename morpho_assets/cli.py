"""The `morpho` command: the few things a terminal user needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morpho_assets.errors import InputError, MorphoError

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
    """Run one command; a mistake of ours or the user's is one message and exit status 1."""
    options = _parser().parse_args(arguments)
    _set_environment(Path(options.settings).resolve())
    try:
        return int(options.run(options) or 0)
    except MorphoError as error:
        print(f"morpho: {error}", file=sys.stderr)
        return 1


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

    demo = command("demo", _demo, "make a synthetic gallery, run every asset on it, and query the result")
    demo.add_argument("--size", default="demo", help="tiny, demo or plate384 (default: %(default)s)")
    demo.add_argument("--seed", type=int, default=0, help="seed of the simulator")
    plates = command("plates", _plates, "list plates, or register some so that the UI shows them")
    plates.add_argument("action", choices=["list", "add"])
    plates.add_argument("plate", nargs="*", help="barcodes to add; none adds all that the sources have")
    run = command("run", _run, "materialise plates and studies, and the catalog")
    run.add_argument("--plate", action="append", default=[], help="a barcode; may be repeated")
    run.add_argument("--study", action="append", default=[], help="a study; may be repeated")
    run.add_argument("--force", action="store_true", help="also what is up to date")
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
    Path(os.environ["MORPHO_STATE_DIR"]).mkdir(parents=True, exist_ok=True)


def _workspace() -> Workspace:
    from morpho_assets.assets.resources import settings_file
    from morpho_assets.workspace import Workspace

    return Workspace.open(settings_file())


def _open_instance() -> dg.DagsterInstance:
    """Dagster's instance. Processes take turns to open it: the first creates the tables, and two at once collide."""
    import dagster as dg
    from filelock import FileLock

    with FileLock(Path(os.environ["MORPHO_STATE_DIR"]) / "instance.lock"):
        return dg.DagsterInstance.get()


def _demo(options: argparse.Namespace) -> None:
    from morpho_assets.simulator import write_gallery
    from morpho_assets.terminal import TerminalProgress

    workspace = _workspace()
    source = next((s for s in workspace.settings.sources if s.name == "demo" and s.kind == "gallery"), None)
    if source is None:
        found = ", ".join(s.name for s in workspace.settings.sources) or "none"
        raise InputError(options.settings, "sources", found, "a source named demo", "Restore it from the repository.")
    with TerminalProgress() as progress:
        plates = write_gallery(
            source.root,
            options.size,
            options.seed,
            lambda done, total: progress("gallery", done, total),
            workspace.settings.compute.processes,
        )
    _materialise(workspace, plates, ["demo"], force=False)
    print(f"\nReport:   {Path(workspace.settings.reports) / 'demo' / 'report.html'}")
    print(f"Database: {workspace.settings.catalog}\n")
    for question, query in QUERIES:
        print(f'{question}\n  morpho sql "{query}"')
        _print_table(query)


def _plates(options: argparse.Namespace) -> None:
    workspace = _workspace()
    known = workspace.plates()
    with _open_instance() as instance:
        if options.action == "add":
            unknown = sorted(set(options.plate) - set(known))
            if unknown:
                found = f"the plates {', '.join(known[:10]) or 'none'}"
                raise InputError("sources", f"plate {unknown[0]}", found, "a plate of a source", "Check the barcode.")
            instance.add_dynamic_partitions("plate", options.plate or known)
        registered = set(instance.get_dynamic_partitions("plate"))
    for plate in sorted(registered | set(known)):
        done = "profiles" if workspace.lake.parts("normalized_profiles", plate) else ""
        print(f"{plate}\t{'registered' if plate in registered else 'not registered'}\t{done}".rstrip())


def _run(options: argparse.Namespace) -> None:
    if not options.plate and not options.study:
        raise InputError("morpho run", "", "neither --plate nor --study", "at least one", "Name a plate or a study.")
    _materialise(_workspace(), options.plate, options.study, options.force)


def _sql(options: argparse.Namespace) -> None:
    _print_table(options.query)


def _ui(options: argparse.Namespace) -> None:
    """Replaces this process by `dagster dev`, bound to loopback."""
    _workspace()  # a wrong settings file is one message here, not a stack of them in the UI
    _open_instance().dispose()  # its tables stand before the UI's processes look for them at once
    root = Path(os.environ["MORPHO_SETTINGS"]).parent
    place = ["-w", "workspace.yaml"] if (root / "workspace.yaml").exists() else ["-m", "morpho_assets.definitions"]
    os.chdir(root)
    os.execv(
        sys.executable, [sys.executable, "-m", "dagster", "dev", "-h", "127.0.0.1", "-p", str(options.port), *place]
    )


def _materialise(workspace: Workspace, plates: Sequence[str], studies: Sequence[str], force: bool) -> None:
    """Plates that are not up to date, then studies, then the catalog; the first failure ends it.

    A stale manifest is read first: only what it says decides whether images and cells are stale too.
    """
    from morpho_assets.lineage import PLATE_STAGES, STUDY_STAGES
    from morpho_assets.terminal import TerminalProgress

    with _open_instance() as instance, TerminalProgress() as progress:
        instance.add_dynamic_partitions("plate", list(plates))
        instance.add_dynamic_partitions("study", list(studies))
        for number, plate in enumerate(plates, start=1):
            stages = list(PLATE_STAGES) if force else _stale(workspace, plate)
            if not force and "plate_manifest" in stages and workspace.lake.parts("wells", plate):
                _launch(instance, progress, ["plate_manifest"], plate)
                stages = _stale(workspace, plate)
            progress.title(f"plate {plate} ({number} of {len(plates)})" + ("" if stages else ": up to date"))
            if stages:
                _launch(instance, progress, stages, plate)
        for study in studies:
            progress.title(f"study {study}")
            _launch(instance, progress, [*STUDY_STAGES, "report"], study)
        progress.title("catalog")
        _launch(instance, progress, ["catalog"], None)


def _stale(workspace: Workspace, plate: str) -> list[str]:
    from morpho_assets.lineage import PLATE_STAGES, is_current

    return [stage for stage in PLATE_STAGES if not is_current(workspace.lake, stage, plate, workspace.settings)]


def _launch(instance: dg.DagsterInstance, progress: object, assets: list[str], partition: str | None) -> None:
    """Materialise assets in this process, as one run that the UI shows."""
    import dagster as dg

    from morpho_assets.definitions import build_defs

    definitions = build_defs(progress=progress)  # type: ignore[arg-type]
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    job = definitions.resolve_implicit_global_asset_job_def()
    chosen = job.get_subset(asset_selection={dg.AssetKey(name) for name in assets})
    outcome = chosen.execute_in_process(
        run_config=quiet, instance=instance, partition_key=partition, raise_on_error=False
    )
    if not outcome.success:
        raise MorphoError(_first_failure(outcome))


def _first_failure(outcome: dg.ExecuteInProcessResult) -> str:
    """What stopped a run: the check that did not hold, or the message of the asset that failed."""
    for check in outcome.get_asset_check_evaluations():
        if check.blocking and not check.passed:
            return f"{check.asset_key.to_user_string()}: {check.description}"
    for event in outcome.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error and error.cause else error
            text = (cause.message if cause else "").strip()
            return f"{event.step_key} failed: {text}"
    return "the run failed; the UI (`morpho ui`) shows where"


def _print_table(query: str) -> None:
    import polars as pl

    from morpho_assets.lake.catalog import query_catalog

    workspace = _workspace()
    frame = query_catalog(workspace.settings.catalog, query, workspace.lake)
    with pl.Config(tbl_rows=100, tbl_cols=20, tbl_width_chars=160, fmt_str_lengths=60, tbl_hide_dataframe_shape=True,
                   tbl_hide_column_data_types=True):  # fmt: skip
        print(frame)


if __name__ == "__main__":
    sys.exit(main())
