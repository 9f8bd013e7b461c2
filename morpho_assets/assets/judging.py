"""A person's verdict from the UI: the job `verdict`, on the plate that is chosen as its partition."""

from enum import Enum

import dagster as dg
from pydantic import Field

from morpho_assets.assets.partitions import PLATES
from morpho_assets.assets.resources import WorkspaceResource
from morpho_assets.errors import MorphoError
from morpho_assets.judging import judge
from morpho_assets.stages import STAGES


class Verdict(Enum):
    """What may be said."""

    approved = "approved"
    rejected = "rejected"
    withdrawn = "withdrawn"


class VerdictConfig(dg.Config):
    """A verdict on the partition's plate, or on a well or a site of it."""

    verdict: Verdict = Field(description="rejected: profiles are made without it; withdrawn: takes the last one back")
    well: str | None = Field(None, description="a well such as A01; without one, the whole plate")
    site: int | None = Field(None, description="a site of the well; without one, the whole well")
    reason: str = Field(description="why; it is kept with the plate's profiles")
    name: str = Field(description="who says so")


@dg.op
def record_verdict(context: dg.OpExecutionContext, workspace: WorkspaceResource, config: VerdictConfig) -> None:
    """Keep the verdict in the ledger, and show it on the assets that depend on it. What it changes is made by the next
    run of the plate."""
    opened, plate = workspace.open(), context.partition_key
    try:
        said = judge(opened, config.verdict.value, plate, config.well, config.site, config.reason, config.name)
    except MorphoError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    shown = {"verdict": said.said, "place": said.place or "plate", "who": said.who, "reason": said.reason}
    for name in (stage.name for stage in STAGES.values() if stage.judged):
        context.log_event(dg.AssetObservation(name, partition=plate, metadata=shown))
    context.log.info(f"{plate} {said.place}: {said.text}")


@dg.job(name="verdict", partitions_def=PLATES, executor_def=dg.in_process_executor)
def VERDICT_JOB() -> None:
    """Approve or reject a plate, a well or a site of it, or take that back.

    Choose the plate as the partition and fill in the launchpad. Its profiles are stale then; the schedule, or
    Materialize, makes them anew."""
    record_verdict()
