"""What thousands of plates take, from what one does: machines, hours, storage and money.

`python -m benchmarks.scale` writes the tables of docs/scale.md from figures of docs/benchmarks.md and the assumptions
below; nothing is measured here (`make bench-plate` does that), and the page says what is which.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from benchmarks.figures import PAGE

DOCS = PAGE.parent / "scale.md"
BEGIN, END = "<!-- begin scale -->", "<!-- end scale -->"
PLATES, WELLS, SITES_A_WELL, TERABYTES = 2000, 384, 9, 115
CORES, MEMORY_GB, GIGABIT = 16, 64, 10
"""A machine as it is rented: cores, memory and network."""
CORE_HOUR, STORAGE_MONTH = 0.02, 23.0
"""US dollars for an hour of one core at the spot price, and for a TB of object storage a month: typical of 2026."""
REQUESTS = 5500
"""GET requests a second that an object store gives for a prefix (Amazon's figure); each plate has its own."""
RUN_SECONDS = 3.0
"""Seconds between two runs that Dagster's daemon takes off its queue, one after the other."""
LAKE_MB = 1.7
"""MB of results a site, not packed: 95 cells x 3,600 measurements of four bytes, two label images, the small tables."""
ORCHESTRATOR = 10.0
"""Seconds of a run beside its stages, where that was not measured yet: a process that loads its libraries, Dagster's
bookkeeping, the catalog."""
SHARE = "whole_plate.first_process_share"
"""Share of a run's time in the process that plans, publishes and starts the workers."""
WHOLE, PARTS = "whole_plate.site_cpu_seconds", ("segmentation.cellpainting_seconds", "measure.seconds_per_site")
"""Processor seconds of a site through every stage; where that was not measured yet, of its two largest parts."""


def figure(page: str, name: str) -> float:
    """A figure of docs/benchmarks.md. Raises KeyError where it is not there."""
    found = re.search(rf"^\| `{re.escape(name)}` \| (\S+) \|", page, re.MULTILINE)
    if found is None:
        raise KeyError(f"{name} is not in docs/benchmarks.md: run its benchmark")
    return float(found[1])


@dataclass(frozen=True)
class Screen:
    """A screen and what was measured of one plate; `orchestrator` is the share of a run beside its stages."""

    plates: int
    sites: int
    terabytes: float
    processor: float
    lake_mb: float
    orchestrator: float
    publish: float

    @classmethod
    def jump(cls, page: str) -> Screen:
        """JUMP by the figures of a page."""
        processor = figure(page, WHOLE) if WHOLE in page else sum(figure(page, part) for part in PARTS)
        publish, sites = figure(page, "ledger.publish_one_seconds"), WELLS * SITES_A_WELL
        orchestrator = figure(page, SHARE) if SHARE in page else ORCHESTRATOR / (sites * processor / CORES)
        return cls(PLATES, sites, TERABYTES, processor, LAKE_MB, orchestrator, publish)

    @property
    def core_hours(self) -> float:
        return self.plates * self.sites * self.processor / 3600

    @property
    def lake_tb(self) -> float:
        return self.plates * self.sites * self.lake_mb / 1e6

    def hours(self, machines: int) -> dict[str, float]:
        """What each part would take alone, in hours, with so many machines of CORES cores."""
        images = 5 * self.plates * self.sites
        prefixes = min(machines, self.plates)  # plates that are read at the same time
        return {
            "cores": self.core_hours / (machines * CORES),
            "network of the machines": self.terabytes * 8e12 / (machines * GIGABIT * 1e9) / 3600,
            "requests of the object store": images / (REQUESTS * prefixes) / 3600,
            "starting runs, one after the other": self.plates * RUN_SECONDS / 3600,
            "publishing, once for every ten plates": self.plates / 10 * self.publish / 3600,
        }

    def bottleneck(self, machines: int) -> tuple[str, float]:
        return max(self.hours(machines).items(), key=lambda pair: pair[1])


def section(page: str) -> str:
    """The tables of docs/scale.md from the figures of docs/benchmarks.md."""
    screen = Screen.jump(page)
    what = "every stage" if WHOLE in page else "segmentation and measurement alone"
    if SHARE in page:
        measured, assumed = f", {screen.orchestrator:.1%} of a run in the process that plans, publishes and starts", ""
    else:
        measured, assumed = (
            "",
            (
                f", {ORCHESTRATOR:g} s of a run beside its stages, which is {screen.orchestrator:.1%} of a plate of "
                f"{screen.sites:,} sites on {CORES} cores"
            ),
        )
    lines = [
        f"**Measured**: {screen.processor:.2f} processor seconds a site of 1,080 x 1,080 x 5 ({what}), "
        f"{screen.publish:.1f} s to publish one plate among 200{measured}. **Assumed**: {screen.lake_mb:g} MB of "
        f"results a site{assumed}. **Computed**: {screen.core_hours:,.0f} core hours, {screen.lake_tb:.1f} TB of "
        "results.",
        "",
        "| machines | hours | what limits | hours of the cores | of the network | of the requests | of starting runs | "
        "of publishing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for machines in (1, 10, 100):
        hours = screen.hours(machines)
        name, longest = screen.bottleneck(machines)
        each = " | ".join(f"{one:,.1f}" for one in hours.values())
        lines.append(f"| {machines} | {longest:,.1f} | {name} | {each} |")
    cost = screen.core_hours * CORE_HOUR
    lines += [
        "",
        f"| what | amount | at | US dollars |\n|---|---|---|---|\n"
        f"| cores | {screen.core_hours:,.0f} hours | {CORE_HOUR} an hour | {cost:,.0f} |\n"
        f"| results kept | {screen.lake_tb:.1f} TB | {STORAGE_MONTH:g} a TB and month | "
        f"{screen.lake_tb * STORAGE_MONTH:,.0f} a month |\n"
        f"| images kept as a copy | {screen.terabytes:g} TB | {STORAGE_MONTH:g} a TB and month | "
        f"{screen.terabytes * STORAGE_MONTH:,.0f} a month; none with `policy: stream` |",
    ]
    return "\n".join(lines)


def renewed(text: str, page: str) -> str:
    """docs/scale.md with its tables, between the two marks, made anew."""
    before, rest = text.split(BEGIN, 1)
    return f"{before}{BEGIN}\n{section(page)}\n{END}{rest.split(END, 1)[1]}"


def main() -> None:
    DOCS.write_text(renewed(DOCS.read_text(), PAGE.read_text()))


if __name__ == "__main__":
    main()
