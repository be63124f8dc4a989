"""Recorded steps of a training. These need a GPU: elsewhere there is nothing to record."""

import copy

import numpy as np
import pytest
import torch

from inference.training.gpu import online
from inference.training.gpu.cuda_graph import UNRECORDED, Recorded
from inference.training.muon import Optimiser
from inference.training.network import DefacingNet
from inference.training.run import Average, Run
from tests.test_fresh import made
from tests.test_predict import SMALL

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


STEPS = 3 * UNRECORDED


@pytest.fixture
def runs(tmp_path):
    """Two trainings of one network, which differ in nothing."""
    torch.manual_seed(0)
    first = DefacingNet(SMALL).cuda()
    first.fuse[2].p = 0.0  # they would drop different features
    out = []
    for model in (first, copy.deepcopy(first)):
        online.lay_out(model)
        model.train()
        optimiser = Optimiser(model, 1e-2, STEPS)
        out.append(Run(model, optimiser, Average(model, warm=True), tmp_path / "state", {}))
    return out


def batches(count):
    pool = online.Pool(20, "cuda")
    pool.add(made(20))
    return [pool.draw(8, np.random.default_rng(number)) for number in range(count)]


def test_replayed_steps_learn_what_unrecorded_ones_learn(runs):
    plain, recorded = runs[0].step, Recorded(runs[1]).step
    for number, batch in enumerate(batches(STEPS)):
        one, other = plain(batch), recorded(batch)
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], atol=0.05, rtol=0.05, msg=f"{key}, step {number}")
        if number == UNRECORDED:  # the last at which the rate could have been frozen
            before = [p.detach().clone() for p in runs[0].model.parameters()]
    for was, one, other in zip(before, *(run.model.parameters() for run in runs), strict=True):
        assert (one - other).norm() < 0.2 * (one - was).norm() + 1e-6


def test_every_replay_has_its_own_rate(runs):
    recorded = Recorded(runs[1])
    made_up = batches(STEPS)
    for batch in made_up[:-2]:
        recorded.step(batch)
    runs[1].optimiser.step_count = STEPS  # from here on the rate is nothing
    before = {key: value.clone() for key, value in runs[1].model.state_dict().items()}
    recorded.step(made_up[-1])
    for key, value in runs[1].model.state_dict().items():
        assert torch.equal(value, before[key]) != ("running" in key or "tracked" in key), key
    with pytest.raises(ValueError, match="a batch of 4"):
        recorded.step(made_up[0].share(0, 2))
