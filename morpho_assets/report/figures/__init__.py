"""The pictures of the report and of the asset pages: each takes arrays and returns WebP bytes under 150 kB.

Charts are drawn for a width of 512 to 900 pixels, in colours that people with any colour vision can tell apart
(viridis, red-blue, and Okabe and Ito's palette, jfly.uni-koeln.de/color). Values that are not finite are left out or
marked; where nothing is left the picture says so.
"""

from morpho_assets.report.figures.curves import (
    DoseCurve,
    dose_curves,
    loss_curve,
    power_curves,
    precision_recall_chart,
    sweep_curve,
)
from morpho_assets.report.figures.fields import cell_strips, composite, illumination_panel, mask_overlay
from morpho_assets.report.figures.likeness import correlation_heatmap, similarity_tree
from morpho_assets.report.figures.maps import scatter
from morpho_assets.report.figures.plates import plate_heatmap
from morpho_assets.report.figures.scores import checks_chart, confusion_chart, map_versus_p, metric_bars, planted_panels

__all__ = [
    "DoseCurve",
    "cell_strips",
    "checks_chart",
    "composite",
    "confusion_chart",
    "correlation_heatmap",
    "dose_curves",
    "illumination_panel",
    "loss_curve",
    "map_versus_p",
    "mask_overlay",
    "metric_bars",
    "planted_panels",
    "plate_heatmap",
    "power_curves",
    "precision_recall_chart",
    "scatter",
    "similarity_tree",
    "sweep_curve",
]
