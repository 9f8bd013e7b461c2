"""The assets, made from the one list of stages; and the catalog, which publishes them.

An asset asks its run for the stage of its partition and shows what came of it; it holds no logic of its own.
"""

import warnings

import dagster as dg
from dagster import PreviewWarning

from morpho_assets.assets.partitions import PLATES, STUDIES
from morpho_assets.assets.pictures import pictures_of, small_table
from morpho_assets.assets.resources import ProgressTeller, WorkspaceResource
from morpho_assets.errors import InputError, MorphoError
from morpho_assets.lake.catalog import FORM
from morpho_assets.lake.ledger import Commit, Partition
from morpho_assets.lake.tables import TABLES
from morpho_assets.publication import publish
from morpho_assets.runs import Run
from morpho_assets.stages import STAGES, Stage

NUMBER, COMMIT = "commit", "morpho/commit"
OWNERS = ["team:morpho"]


def stage_asset(stage: Stage) -> dg.AssetsDefinition:
    """The asset of a stage: dependencies, checks, pool, retries and description are those of its entry."""
    partitions = PLATES if stage.kind == "plate" else STUDIES
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PreviewWarning)  # partitions of checks: constraints.txt pins the version
        checks = [
            dg.AssetCheckSpec(
                each.name, asset=stage.name, description=each.about, blocking=each.blocking, partitions_def=partitions
            )
            for each in stage.checks
        ]

    @dg.asset(
        name=stage.name,
        description=stage.about,
        partitions_def=partitions,
        deps=[_dependency(stage, name) for name in _drawn(stage)],
        group_name=stage.group,
        kinds=set(stage.kinds),
        code_version=stage.code_version,
        check_specs=checks,
        pool=stage.pool,
        owners=OWNERS,
        tags={f"morpho/table.{table}": "" for table in stage.outputs},
        op_tags={"morpho/stage": stage.name, "morpho/cores": "1" if stage.pool is None else "all"},
        metadata=_columns(stage),
        retry_policy=dg.RetryPolicy(stage.retries, 10, dg.Backoff.EXPONENTIAL, dg.Jitter.PLUS_MINUS)
        if stage.retries
        else None,
    )
    def asset(
        context: dg.AssetExecutionContext, workspace: WorkspaceResource, progress: dg.ResourceParam[ProgressTeller]
    ) -> dg.MaterializeResult:
        try:
            run = workspace.run(context, progress.of(context))
            run.committed = lambda commit: _mirror(context, stage, commit)
            commits = [run.make(stage.name, partition) for partition in _partitions(stage, context.partition_key, run)]
        except MorphoError as error:
            told = failed_partition(error, stage.name, context.partition_key)
            # At once: what a step logs itself is lost where it fails.
            seen = dg.AssetObservation(stage.name, partition=context.partition_key, metadata=told)
            context.instance.report_runless_asset_event(seen)
            # Another attempt helps where the network failed, and not where a file or a setting is wrong.
            raise dg.Failure(str(error), metadata=told, allow_retries=not isinstance(error, InputError)) from None
        return _result(run, stage, commits)

    return asset


def failed_partition(error: MorphoError, stage: str, key: str) -> dict[str, str]:
    """What the page of a partition that failed shows: the sentence, and what to do."""
    kind = STAGES[stage].kind
    if isinstance(error, InputError):
        do = f"{error.do} Then materialise it again, or: morpho run --{kind} {key}"
    else:
        again = f"morpho run --study {key}" if kind == "study" else f"morpho retry --plate {key}"
        do = f"Mend what the sentence names, then materialise it again, or: {again}. `morpho status` shows where it is."
    return {"failed": str(error), "what to do": do}


def materialization(commit: Commit) -> dg.AssetMaterialization:
    """A commit as Dagster's event, for one that no asset of its own run has made."""
    shown: dict[str, str | int] = {NUMBER: commit.number, "content": commit.content, "who": commit.who, "at": commit.at}
    tags = {"dagster/data_version": commit.content, COMMIT: str(commit.number)}
    return dg.AssetMaterialization(commit.stage, metadata=shown, partition=commit.partition.key, tags=tags)


def _dependency(stage: Stage, name: str) -> dg.AssetDep:
    """A dependency between plates and studies is only drawn: which plates a study reads its YAML and the ledger say."""
    if STAGES[name].kind == stage.kind:
        return dg.AssetDep(name)
    return dg.AssetDep(name, partition_mapping=dg.SpecificPartitionsPartitionMapping([]))


def _drawn(stage: Stage) -> list[str]:
    """What a stage reads. Of what lies between plates and studies, which no job orders, only what nothing else that is
    read stands on: a graph with every line shows none."""
    names = list(dict.fromkeys(each.stage for each in stage.inputs))
    below = set().union(*map(_all_before, names))
    return [name for name in names if STAGES[name].kind == stage.kind or name not in below]


def _all_before(name: str) -> set[str]:
    """The stages that a stage stands on."""
    before = {each.stage for each in STAGES[name].inputs}
    return before.union(*map(_all_before, before))


def _last_stages() -> list[str]:
    """The stages that no other reads."""
    read = {each.stage for stage in STAGES.values() for each in stage.inputs}
    return [name for name in STAGES if name not in read]


@dg.asset(
    group_name="catalog",
    kinds={"duckdb", "sql"},
    deps=[dg.AssetDep(name, partition_mapping=dg.AllPartitionMapping()) for name in _last_stages()],
    code_version=FORM,
    pool="catalog",
    owners=OWNERS,
)
def catalog(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
    """`data/morpho.duckdb`: every table of every plate and study, for SQL.

    Brought up to date aside and swapped in: an open reader is never blocked and never blocks a run. What was made with
    other settings than those in force is left out; the table `partitions` says which, and why.
    """
    opened = workspace.open()
    published = publish(opened)
    query = f'duckdb -readonly {opened.settings.catalog} "FROM metrics LIMIT 10"'
    return dg.MaterializeResult(
        metadata={
            "database": dg.MetadataValue.path(opened.settings.catalog),
            "query it": dg.MetadataValue.md(f"`{query}`"),
            "tables": small_table(published, rows=60),
            "dagster/row_count": int(published["rows"].sum()),
        }
    )


def _columns(stage: Stage) -> dict[str, dg.TableSchema | str]:
    """The columns of a stage's first table, for the UI: families of thousands of measurements are one line each."""
    if not stage.outputs:
        return {}
    table = TABLES[stage.outputs[0]]
    columns = [
        dg.TableColumn(column.name, str(column.dtype), column.meaning + (f" ({column.unit})" if column.unit else ""))
        for column in table.columns
    ]
    columns += [dg.TableColumn(f"{each.prefix}*", str(each.dtype), each.meaning) for each in table.families]
    return {"dagster/table_name": table.name, "dagster/column_schema": dg.TableSchema(columns)}


def _partitions(stage: Stage, key: str, run: Run) -> list[Partition]:
    """The partitions of the ledger behind one of Dagster's: a stage with second parts has one for each."""
    if stage.parts is None:
        return [Partition(stage.kind, key)]
    opened = run.workspace
    if stage.kind == "study":
        return [Partition(stage.kind, key, part) for part in stage.parts(opened.study(key))]
    studies = [study for study in map(opened.study, opened.studies()) if study.plates == "all" or key in study.plates]
    wanted = [Partition(stage.kind, key, part) for study in studies for part in stage.parts(study)]
    trained = opened.state([key], [study.name for study in studies]).commits
    encoders = {f"{own.key}/{own.part}" for name, own in trained if name == "encoder"}
    return [partition for partition in wanted if partition.part in encoders]


def _mirror(context: dg.AssetExecutionContext, stage: Stage, commit: Commit) -> None:
    """Tell Dagster of a commit that this asset asked another stage for."""
    if commit.stage != stage.name:
        context.log_event(materialization(commit))


def _result(run: Run, stage: Stage, commits: list[Commit]) -> dg.MaterializeResult:
    if not commits:
        return dg.MaterializeResult(metadata={"dagster/row_count": 0, "partitions": "none asked for"})
    if len(commits) == 1:
        metadata = pictures_of(run.workspace, commits[0])
    else:
        parts = ((commit.partition.part, pictures_of(run.workspace, commit)) for commit in commits)
        metadata = {f"{part}: {name}": shown for part, found in parts for name, shown in found.items()}
        metadata["dagster/row_count"] = sum(out.rows for commit in commits for out in commit.outputs.values())
    results = [
        dg.AssetCheckResult(
            passed=verdict.passed,
            check_name=verdict.check,
            asset_key=stage.name,
            description=verdict.text,
            severity=dg.AssetCheckSeverity.ERROR if verdict.blocking else dg.AssetCheckSeverity.WARN,
            metadata=verdict.facts,
        )
        for commit in commits
        for verdict in commit.verdicts
    ]
    content = "+".join(commit.content for commit in commits)
    tags = {COMMIT: str(commits[-1].number)}
    return dg.MaterializeResult(
        metadata=metadata, check_results=results, data_version=dg.DataVersion(content), tags=tags
    )


ASSETS = [*map(stage_asset, STAGES.values()), catalog]
