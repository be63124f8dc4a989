"""Recorded steps of a training. These need a GPU: elsewhere there is nothing to record."""

import copy

import numpy as np
import pytest
import torch

from inference import fresh
from inference.model import DefacingNet
from inference.optimiser import Optimiser
from inference.recorded import UNRECORDED, Recorded
from inference.train import Average, Run
from tests.test_fresh import made
from tests.test_predict import SMALL

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def test_replayed_steps_learn_what_unrecorded_ones_learn(tmp_path):
    torch.manual_seed(0)
    first = DefacingNet(SMALL).cuda()
    first.fuse[2].p = 0.0  # the two would drop different features
    runs = []
    for model in (first, copy.deepcopy(first)):
        fresh.lay_out(model)
        model.train()
        runs.append(Run(model, Optimiser(model, 1e-3, 20), Average(model, warm=True), tmp_path / "state", {}))
    pool = fresh.Pool(20, "cuda")
    pool.add(made(20))
    plain, recorded = runs[0].step, Recorded(runs[1]).step
    for number in range(3 * UNRECORDED):
        batch = pool.draw(8, np.random.default_rng(number))
        one, other = plain(batch), recorded(batch)
        for key, value in one.items():
            torch.testing.assert_close(value, other[key], atol=0.02, rtol=0.02, msg=f"{key}, step {number}")
    for key, value in runs[0].average.values.items():
        torch.testing.assert_close(value, runs[1].average.values[key], atol=5e-3, rtol=0.05, msg=key)
