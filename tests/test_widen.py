"""A network grows without changing its mind."""

import pytest
import torch

from inference.training.network import DefacingNet, ModelConfig
from inference.training.widen import grown

SMALL = ModelConfig(widths=(8, 12, 16), stem=4, blocks=8, deep=12, hidden=24)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    net = DefacingNet(SMALL).train()
    with torch.no_grad():
        for _ in range(3):  # statistics that are not those of a new network
            net(*heads(4))
    return net.eval()


def heads(count):
    return (
        torch.randint(0, 256, (count, 6, 6, 80, 80), dtype=torch.uint8),
        torch.randint(0, 256, (count, 64, 80, 80), dtype=torch.uint8),
    )


@pytest.mark.parametrize(
    "sizes",
    [
        {"fine": True},
        {"widths": (12, 20, 24), "stem": 6, "blocks": 12, "deep": 20, "hidden": 32},
        {"widths": (8, 16, 20), "stem": 8, "blocks": 16, "deep": 16, "fine": True},
    ],
)
def test_a_grown_network_says_the_same_and_can_learn(small, sizes):
    big = grown(small, ModelConfig(**{**SMALL.__dict__, **sizes})).eval()
    views = heads(2)
    with torch.no_grad():
        before, after = small(*views), big(*views)
    for key in before:
        torch.testing.assert_close(after[key], before[key], atol=1e-4, rtol=1e-4)
    big.train()
    sum(v.float().sum() for v in big(*views).values()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in big.parameters())


def test_what_cannot_grow_is_refused(small):
    with pytest.raises(ValueError, match="view_features"):
        grown(small, ModelConfig(**{**SMALL.__dict__, "view_features": 40}))
    with pytest.raises(ValueError, match="does not fit"):
        grown(small, ModelConfig(**{**SMALL.__dict__, "deep": 8}))
