"""Chemical structures as numbers: standardised SMILES, InChIKeys, fingerprints, descriptors and scaffolds, by rdkit.

rdkit is an extra (`chemistry`). A SMILES that cannot be read is never dropped: its row says what is wrong with it, and
its numbers are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from morpho_assets.errors import InputError

Fingerprint = Literal["morgan", "morgan_counts", "rdkit", "maccs", "atom_pairs", "torsions"]
NO_SMILES, UNREADABLE = "no SMILES", "unreadable SMILES"
ACYCLIC = "acyclic: "
"""What the scaffold of a molecule without a ring begins with: each such molecule is a series of its own, or of those
with the same SMILES."""


def structures(smiles: Sequence[str | None], standardise: bool = True) -> pl.DataFrame:
    """A row per SMILES, in order: `smiles` as given, `standard_smiles`, `inchikey`, `scaffold` and `problem`.

    Standardised is the largest fragment (salts and solvents left out), with charges neutralised where that is possible,
    as canonical SMILES. The scaffold is Bemis and Murcko's (10.1021/jm9602928) as SMILES without chirality; empty for a
    molecule without a ring. `problem` is null, or says why all else is.
    """
    rows = [_structure(text, standardise) for text in smiles]
    names = ("smiles", "standard_smiles", "inchikey", "scaffold", "problem")
    return pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")


def scaffold_groups(frame: pl.DataFrame) -> NDArray[np.str_]:
    """(n,) what has to stay together of `structures`: the scaffold; a molecule without a ring by its own SMILES, and a
    row without a structure by its number, which no other shares."""
    alone = pl.concat_str(pl.lit("row "), pl.int_range(pl.len()).cast(pl.String))
    own = pl.when(pl.col("scaffold") != "").then(pl.col("scaffold")).otherwise(ACYCLIC + pl.col("standard_smiles"))
    return frame.select(pl.coalesce(own, alone)).to_series().to_numpy().astype(str)


def fingerprints(
    smiles: Sequence[str | None], kind: Fingerprint = "morgan", bits: int = 2048, radius: int = 2
) -> NDArray[np.float32]:
    """(n, bits) fingerprints, 0 or 1 (counts of `morgan_counts`); rows of NaN where there is no structure. `maccs` has
    167 bits, whatever `bits` says; `radius` is Morgan's (2 for ECFP4, 10.1021/ci100050t)."""
    chem = _rdkit()
    generator = _generator(kind, bits, radius)
    length = 167 if kind == "maccs" else bits
    found = np.full((len(smiles), length), np.nan, np.float32)
    with _quiet():
        for row, text in enumerate(smiles):
            molecule = chem.MolFromSmiles(text) if text else None
            if molecule is not None:
                found[row] = generator(molecule)
    return found


def descriptors(smiles: Sequence[str | None]) -> tuple[NDArray[np.float64], list[str]]:
    """((n, d) rdkit's descriptors, their names): weight, logP, polar surface, counts, charges …; NaN where there is no
    structure or no value."""
    chem = _rdkit()
    from rdkit.Chem import Descriptors

    names = [name for name, _ in Descriptors._descList]
    found = np.full((len(smiles), len(names)), np.nan)
    with _quiet():
        for row, text in enumerate(smiles):
            molecule = chem.MolFromSmiles(text) if text else None
            if molecule is not None:
                values = Descriptors.CalcMolDescriptors(molecule, missingVal=np.nan)
                found[row] = [values[name] for name in names]
    return np.where(np.isfinite(found), found, np.nan), names


def murcko_scaffold(smiles: str) -> str:
    """Bemis and Murcko's scaffold of one SMILES, without chirality; empty for a molecule without a ring. ValueError for
    a SMILES that cannot be read."""
    chem = _rdkit()
    from rdkit.Chem.Scaffolds import MurckoScaffold

    with _quiet():
        molecule = chem.MolFromSmiles(smiles)
    if molecule is None:
        raise ValueError(f"cannot read the SMILES {smiles!r}")
    return str(MurckoScaffold.MurckoScaffoldSmiles(mol=molecule, includeChirality=False))


def _structure(smiles: str | None, standardise: bool) -> tuple[str | None, ...]:
    chem = _rdkit()
    from rdkit.Chem.Scaffolds import MurckoScaffold

    if smiles is None or not smiles.strip():
        return smiles, None, None, None, NO_SMILES
    with _quiet():
        molecule = chem.MolFromSmiles(smiles.strip())
        if molecule is None or not molecule.GetNumAtoms():
            return smiles, None, None, None, UNREADABLE
        if standardise:
            molecule = _standard(molecule)
        scaffold = MurckoScaffold.MurckoScaffoldSmiles(mol=molecule, includeChirality=False)
        key = chem.MolToInchiKey(molecule) or None
        return smiles, chem.MolToSmiles(molecule), key, scaffold, None


def _standard(molecule: Any) -> Any:
    from rdkit.Chem.MolStandardize import rdMolStandardize

    parent = rdMolStandardize.FragmentParent(rdMolStandardize.Cleanup(molecule), skipStandardize=True)
    neutral = rdMolStandardize.Uncharger().uncharge(parent)
    _rdkit().SanitizeMol(neutral)
    return neutral


def _generator(kind: Fingerprint, bits: int, radius: int) -> Any:
    from rdkit.Chem import MACCSkeys, rdFingerprintGenerator

    if kind == "maccs":
        return lambda molecule: np.array(MACCSkeys.GenMACCSKeys(molecule), dtype=np.float32)
    made = {
        "morgan": lambda: rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits),
        "morgan_counts": lambda: rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=bits),
        "rdkit": lambda: rdFingerprintGenerator.GetRDKitFPGenerator(fpSize=bits),
        "atom_pairs": lambda: rdFingerprintGenerator.GetAtomPairGenerator(fpSize=bits),
        "torsions": lambda: rdFingerprintGenerator.GetTopologicalTorsionGenerator(fpSize=bits),
    }[kind]()
    return made.GetCountFingerprintAsNumPy if kind == "morgan_counts" else made.GetFingerprintAsNumPy


def _rdkit() -> Any:
    try:
        from rdkit import Chem
    except ImportError as error:
        raise InputError("structures", "rdkit", "not installed", "the extra `chemistry`",
                         "Install it: pip install 'morpho-assets[chemistry]'.") from error  # fmt: skip
    return Chem


@contextmanager
def _quiet() -> Iterator[None]:
    """Without rdkit's own words on standard error: what is wrong stands in the table."""
    from rdkit import rdBase

    with rdBase.BlockLogs():
        yield
