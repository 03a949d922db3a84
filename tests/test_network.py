"""The U-Net: its size, its reach, and that no pixel of it knows where it is."""

import pytest
import torch

from casa_ddpm.network import UNet


def network(widths=(8, 8), depth=1, seed=0):
    """A network with no weight at zero, in double precision."""
    torch.manual_seed(seed)
    net = UNet(widths, depth).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn_like(p) * (0.5 / max(1, p[0].numel()) ** 0.5))
    return net


def inputs(n, ny, nx, seed=1):
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 1, ny, nx, generator=random, dtype=torch.float64)
    condition = torch.randn(n, 3, ny, nx, generator=random, dtype=torch.float64)
    noise = torch.randn(n, generator=random, dtype=torch.float64)
    return x, condition, noise, torch.rand(n, 2, generator=random, dtype=torch.float64)


def test_default_size():
    assert sum(p.numel() for p in UNet().parameters()) <= 4_000_000


def test_new_networks_say_nothing():
    x, condition, noise, shape = (t.float() for t in inputs(1, 16, 16))
    assert not UNet((8, 8), 1)(x, condition, noise, shape).any()


@pytest.mark.parametrize(("widths", "depth"), [((8,), 1), ((4, 8), 2), ((4, 4, 8), 1)])
def test_stride_and_shape(widths, depth):
    net = network(widths, depth)
    assert net.stride == 2 ** len(widths)
    ny, nx = 3 * net.stride, 2 * net.stride
    assert net(*inputs(2, ny, nx)).shape == (2, 1, ny, nx)


@pytest.mark.parametrize(("widths", "depth"), [((4,), 1), ((4, 4), 1), ((4, 4), 2), ((4, 4, 4), 1)])
@pytest.mark.parametrize("channel", ["x", "condition"])
def test_reach_bounds_the_receptive_field(widths, depth, channel):
    net = network(widths, depth)
    size = -(-(2 * net.reach + 20) // net.stride) * net.stride
    x, condition, noise, shape = inputs(1, size, size)
    wanted = {"x": x, "condition": condition}[channel].requires_grad_()
    furthest = 0
    # Every place relative to the coarsest level's pixels.
    for pixel in range(size // 2, size // 2 + net.stride):
        out = net(x, condition, noise, shape)[0, 0, pixel, pixel]
        (gradient,) = torch.autograd.grad(out, wanted)
        where = gradient.abs().sum((0, 1)).nonzero()
        furthest = max(furthest, int((where - pixel).abs().max()))
    assert 0 < furthest <= net.reach


def test_a_pixel_beyond_reach_changes_nothing():
    net = network()
    x, condition, noise, shape = inputs(1, 96, 96)
    before = net(x, condition, noise, shape)[0, 0, 10, 10]
    x[0, 0, 10 + net.reach + 1, 10] += 100
    condition[0, :, 10, 10 + net.reach + 1] += 100
    assert torch.equal(net(x, condition, noise, shape)[0, 0, 10, 10], before)


def test_shifted_input_shifts_the_output():
    net = network()
    x, condition, noise, shape = inputs(1, 96, 96)
    out = net(x, condition, noise, shape)
    shift = 3 * net.stride
    moved = net(*(t.roll(shift, -1) for t in (x, condition)), noise, shape)
    inner = slice(net.reach + shift, 96 - net.reach)
    torch.testing.assert_close(
        moved[..., inner, inner], out.roll(shift, -1)[..., inner, inner], rtol=0, atol=1e-10
    )


def test_examples_of_a_batch_are_independent():
    net = network()
    batch = inputs(5, 32, 24)
    together = net(*batch)
    for i in range(5):
        torch.testing.assert_close(together[i : i + 1], net(*(t[i : i + 1] for t in batch)))


@pytest.mark.parametrize("argument", [0, 1, 2, 3])
def test_every_input_counts(argument):
    net = network()
    batch = list(inputs(1, 32, 32))
    before = net(*batch)
    batch[argument] = batch[argument] + 0.5
    assert (net(*batch) - before).abs().max() > 1e-5
