"""The structure of a compound as a small drawing, where rdkit is installed."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

WIDTH, HEIGHT = 260, 180


def structure(smiles: str) -> dict[str, Any] | None:
    """The drawing of a SMILES as plain data; None where rdkit is not there or the SMILES cannot be read.

    `lines` and `filled` are paths in a box of WIDTH x HEIGHT, `letters` have x, y, anchor, size and text. Coordinates
    are rdkit's own (doi.org/10.5281/zenodo.591637); hydrogens are left out.
    """
    try:
        from rdkit import Chem, RDLogger
        from rdkit.Chem.Draw import rdMolDraw2D
    except ImportError:
        return None
    RDLogger.DisableLog("rdApp.*")  # what cannot be read is no drawing; nothing else is to be said
    molecule = Chem.MolFromSmiles(smiles) if smiles else None
    if molecule is None or not molecule.GetNumAtoms():
        return None
    drawing = rdMolDraw2D.MolDraw2DSVG(WIDTH, HEIGHT, -1, -1, True)
    drawing.drawOptions().useBWAtomPalette()
    rdMolDraw2D.PrepareAndDrawMolecule(drawing, molecule)
    drawing.FinishDrawing()
    return _plain(drawing.GetDrawingText())


def _plain(svg: str) -> dict[str, Any]:
    """The paths and letters of rdkit's SVG, without the style that it repeats for each."""
    lines: list[str] = []
    filled: list[str] = []
    letters: list[list[Any]] = []
    for element in ElementTree.fromstring(svg).iter():
        style = element.get("style", "")
        if element.tag.endswith("path"):
            path = re.sub(
                r"\.\d+|\s*,\s*", lambda match: match[0][:2] if match[0][0] == "." else ",", element.get("d", "")
            )
            (lines if "fill:none" in style else filled).append(path.strip())
        elif element.tag.endswith("text"):
            anchor = re.search(r"text-anchor:(\w+)", style)
            size = re.search(r"font-size:(\d+)", style)
            letters.append([
                round(float(element.get("x", 0)), 1), round(float(element.get("y", 0)), 1),
                anchor[1] if anchor else "start", int(size[1]) if size else 12, element.text or "",
            ])  # fmt: skip
    return {"box": [WIDTH, HEIGHT], "lines": " ".join(lines), "filled": " ".join(filled), "letters": letters}
