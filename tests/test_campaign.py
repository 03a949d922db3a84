"""Fields one after the other or in processes: the same tables."""

from dataclasses import replace

import numpy as np
import pytest

from casa_ddpm.benchmark import tables
from casa_ddpm.benchmark.campaign import Campaign, measure
from casa_ddpm.benchmark.metrics import OURS, PEAKS
from casa_ddpm.options import Options
from casa_ddpm.posterior import Sampling
from casa_ddpm.workers import threads

OPTIONS = Options(nmajor=1, sampling=Sampling(nsamples=2, nsteps=3, seed=99, device="cpu"))
FIELDS = (("independent", 1), ("empty", 0), ("independent", 0))
CAMPAIGN = Campaign(FIELDS, OPTIONS, "image", seed=5, npix=48)


def same(one, other):
    """Whether tables are equal but for their times."""
    for a, b in zip(one, other, strict=True):
        assert a.colnames == b.colnames and len(a) == len(b)
        for name in set(a.colnames) - {"seconds"}:
            assert np.array_equal(a[name], b[name], equal_nan=a[name].dtype.kind == "f"), name


def test_tables_of_all_fields():
    truth, found, images = measure(CAMPAIGN)
    assert truth.colnames == list(tables.TRUTH) and found.colnames == list(tables.DETECTIONS)
    assert list(zip(images["protocol"], images["field"], strict=True)) == [
        where for where in FIELDS for _ in (OURS, PEAKS)
    ]
    assert set(zip(truth["protocol"], truth["field"], strict=True)) == {FIELDS[0], FIELDS[2]}
    # A field is the same whatever others are measured, and whatever seed the options hold.
    sampling = replace(OPTIONS.sampling, seed=1)
    alone = measure(
        replace(CAMPAIGN, fields=FIELDS[:1], options=replace(OPTIONS, sampling=sampling))
    )
    first = [
        table[(table["protocol"] == "independent") & (table["field"] == 1)]
        for table in (truth, found, images)
    ]
    same(first, alone)


@pytest.fixture
def one_thread():
    """As each of several processes has; two threads sum up in another order."""
    with threads(1):
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_processes_measure_the_same():
    same(measure(CAMPAIGN), measure(replace(CAMPAIGN, workers=2)))
