"""The linear estimate of a sky from images whose noise is a sum of few that are known.

What the published protocol leaks: one noise vector, seen at ever other pointings.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

#: Variance of white noise beside that of the examples [squared unit of the images], as finitely
#: many of them hold nothing of some images of the noise.
_RIDGE = 1e-5
#: Singular vectors beyond those wanted that random projections look for.
_MORE = 64


def estimator(examples: Iterable[torch.Tensor], rank: int) -> torch.Tensor:
    """The linear least-mean-square estimate of targets, as factors of low rank.

    With the covariances of noise N and skies S and that of targets with skies T, the estimate
    of a target from an image d is T (S + N)^-1 d (Wiener filter; Kay 1993, Fundamentals of
    Statistical Signal Processing: Estimation Theory, eq. 12.20). The means of all are counted
    to what varies, as if those of noise and sky had nothing to do with each other.

    Parameters
    ----------
    examples : iterable of Tensor, shape (n, 3, ny, nx)
        Noise, noise-free sky and target.
    rank : int
        At most ny nx.

    Returns
    -------
    Tensor, shape (2, rank, ny, nx)
        The estimate is the sum of the second factor's images, each times the scalar product of
        the first factor's with d.
    """
    number, moments, shape = 0, torch.zeros(()), torch.Size()
    for batch in examples:
        noise, sky, target = batch.flatten(2).double().unbind(1)
        products = [noise.T @ noise + sky.T @ sky, sky.T @ target]
        moments = moments + torch.stack(products)
        number, shape = number + len(batch), batch.shape[-2:]
    seen, cross = moments
    seen.diagonal().add_(_RIDGE * number)
    # Of the transposed estimate, an image times which is the target.
    left, strengths, right = _strongest(torch.linalg.solve(seen, cross), rank)
    factors = torch.stack([left * strengths.sqrt(), right * strengths.sqrt()]).mT
    return factors.float().unflatten(-1, shape)


def _strongest(matrix: torch.Tensor, rank: int) -> tuple[torch.Tensor, ...]:
    """Its first singular vectors, in columns, and values (Halko et al. 2011, algorithm 5.1)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        found = torch.svd_lowrank(matrix, min(rank + _MORE, len(matrix)), niter=4)
    return tuple(part[..., :rank] for part in found)
