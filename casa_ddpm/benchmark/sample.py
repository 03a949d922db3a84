"""What one method found in one protocol, beside the truth, and how often each row counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from casa_ddpm.benchmark import tables
from casa_ddpm.benchmark.resampling import NUMBER, Resamples


@dataclass(frozen=True)
class Sample:
    """Detections of one method in the fields it has seen, under each resample.

    Attributes
    ----------
    truth : Table, M rows
        True sources, columns as `tables.TRUTH`.
    found : Table, K rows
        Detections, columns as `tables.DETECTIONS`.
    images : Table, F rows
        Fields, columns as `tables.IMAGES` and others.
    partner : ndarray of int, shape (K,)
        Row of `truth` that a detection is matched with, -1: false.
    truth_weight, weight, image_weight : ndarray, shape (R, M), (R, K), (R, F)
        How often each counts; row 0 is the data.
    fields : int
        Number of fields.
    """

    truth: Table
    found: Table
    images: Table
    partner: np.ndarray
    truth_weight: np.ndarray
    weight: np.ndarray
    image_weight: np.ndarray
    fields: int

    @property
    def hit(self) -> np.ndarray:
        """Whether a detection is a true source; bool, shape (K,)."""
        return self.partner >= 0


def samples(
    truth: Table,
    detections: Table,
    images: Table,
    seed: int = 0,
    number: int = NUMBER,
    methods: Iterable[str] | None = None,
) -> dict[str, dict[str, Sample]]:
    """Split the tables by protocol and method.

    All methods of a protocol are given the same resamples of its fields. A method has
    seen the fields that it has a row of `images` for: where it failed, neither its
    detections nor the truth counts. A method without any row has seen all.

    Parameters
    ----------
    truth, detections, images : Table
        Columns as in `casa_ddpm.benchmark.tables`. A field without a source or detection has to be
        in `images`, or it is not known of.
    seed, number : int
        Of the resamples; see `Resamples.draw`.
    methods : iterable of str, optional
        Only these, and only the fields that all of them have seen.

    Returns
    -------
    dict
        protocol -> method -> Sample, in the order of their first rows.

    Raises
    ------
    ValueError
        If a column is missing or a value is not finite, `match` is not a row of the
        field's truth or used twice by a method, or a detection is in a field that its
        method has no image of.
    """
    truth = tables.checked(truth, tables.TRUTH, "truth")
    detections = tables.checked(detections, tables.DETECTIONS, "detections")
    images = tables.checked(images, tables.IMAGES, "images")
    result = {}
    for protocol in _unique(images["protocol"], truth["protocol"], detections["protocol"]):
        true, found, seen = (
            table[np.asarray(table["protocol"]) == protocol]
            for table in (truth, detections, images)
        )
        known = np.concatenate([np.asarray(table["field"]) for table in (true, found, seen)])
        resamples = Resamples.draw(known, seed, number)
        names = _unique(seen["method"], found["method"])
        if methods is not None:
            names = [name for name in methods if name in names]
            resamples = _common(resamples, seen, names)
        result[protocol] = {
            name: _sample(true, _of(found, name), _of(seen, name), resamples) for name in names
        }
    return result


def _of(table: Table, method: str) -> Table:
    return table[np.asarray(table["method"]) == method]


def _unique(*columns) -> list[str]:
    """Distinct names in the order in which they come."""
    return list(dict.fromkeys(str(name) for column in columns for name in column))


def _common(resamples: Resamples, images: Table, names: list[str]) -> Resamples:
    """Only the fields that all these methods have seen."""
    for name in names:
        seen = _of(images, name)
        if len(seen):
            resamples = resamples.restricted(seen["field"])
    return resamples


def _sample(truth: Table, found: Table, images: Table, resamples: Resamples) -> Sample:
    """One method in one protocol."""
    partner = _partners(truth, found)
    if len(images):
        absent = np.setdiff1d(found["field"], images["field"])
        if len(absent):
            raise ValueError(
                f"images must have a row for every field with detections, "
                f"{found['method'][0]} has none for {absent.tolist()}"
            )
        resamples = resamples.restricted(images["field"])
    true_seen = np.isin(truth["field"], resamples.fields)
    found_seen = np.isin(found["field"], resamples.fields)
    row = np.append(np.cumsum(true_seen) - 1, -1)  # the last one for partner -1
    truth, found = truth[true_seen], found[found_seen]
    images = images[np.isin(images["field"], resamples.fields)]
    return Sample(
        truth=truth,
        found=found,
        images=images,
        partner=row[partner[found_seen]],
        truth_weight=resamples.weights(truth["field"]),
        weight=resamples.weights(found["field"]),
        image_weight=resamples.weights(images["field"]),
        fields=len(resamples.fields),
    )


def _partners(truth: Table, found: Table) -> np.ndarray:
    """Row of `truth` for each detection, -1 for a false one."""
    match, field = np.asarray(found["match"]), np.asarray(found["field"])
    order = np.argsort(truth["field"], kind="stable")
    sorted_fields = np.asarray(truth["field"])[order]
    start = np.searchsorted(sorted_fields, field, "left")
    number = np.searchsorted(sorted_fields, field, "right") - start
    wrong = (match < -1) | (match >= number)
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"match must be -1 or a row of the field's truth, got {match[i]} "
            f"in field {field[i]}, which has {number[i]}"
        )
    partner = np.full(len(found), -1)
    hit = match >= 0
    partner[hit] = order[start[hit] + match[hit]]
    if len(np.unique(partner[hit])) < hit.sum():
        raise ValueError(f"match must be one to one, {found['method'][0]} repeats a true source")
    return partner
