"""Train the network on simulated defacings: `python -m inference.train DATA OUT`. Seeded, resumable, no Django."""

from __future__ import annotations

import argparse
import datetime
import json
import logging
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, distributed, multiprocessing, nn

from inference import checkpoint, dataset
from inference.mirror import BothWays
from inference.model import DefacingNet
from inference.optimiser import Optimiser

log = logging.getLogger("train")
# (8, 3): the answers (face, ears, brain) behind each joint index.
COMBINATIONS = torch.tensor([[i & 1, i >> 1 & 1, i >> 2 & 1] for i in range(8)])
SAVE_EVERY = 100  # steps
BLOCKS_WEIGHT = 15.0  # nearly all blocks are empty: their mean says little about those that matter
CLASS_WEIGHTS = {(0, 0): 0.8, (1, 0): 1.2, (0, 1): 0.9, (1, 1): 1.3}  # (face, brain): rare classes count more


def joint_loss(logits: Tensor, attributes: Tensor) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of what is known of (face, ears, brain), (N,); ambiguous answers are summed out.

    logits (N, 8), attributes (N, 3) of 0, 1, -1. Also the weight of each sample, (N,).
    """
    fits = ((attributes[:, None] == COMBINATIONS[None]) | (attributes[:, None] == -1)).all(dim=2)
    log_p = logits.float().log_softmax(dim=1).masked_fill(~fits, -torch.inf)
    weights = torch.ones(len(logits))
    for (face, brain), weight in CLASS_WEIGHTS.items():
        weights[(attributes[:, 0] == face) & (attributes[:, 2] == brain)] = weight
    return -log_p.logsumexp(dim=1), weights


def losses(out: dict[str, Tensor], batch: dataset.Batch) -> dict[str, Tensor]:
    """Each part of the loss, a mean over the samples that it concerns."""
    real = ~batch.odd
    nll, weights = joint_loss(out["joint"][real], batch.attributes[real])
    bce = nn.functional.binary_cross_entropy_with_logits
    kept = batch.kept[real]
    seen = ~kept.isnan()
    maps = out["evidence"][real].float()
    blocks, share = out["blocks"][real].float(), batch.blocks[real].float() / 255
    return {
        "joint": (nll * weights).mean(),
        "regions": 0.4 * bce(out["regions"][real].float()[seen], kept[seen].clamp(0, 1)),
        "amount": 0.3
        * nn.functional.smooth_l1_loss(out["amount"][real].float(), torch.log1p(batch.brain_ml[real])),
        "valid": 0.3 * bce(out["valid"].float(), real.float()),
        "evidence": 0.5 * bce(maps, batch.evidence[real].float(), pos_weight=torch.tensor(3.0)),
        "blocks": BLOCKS_WEIGHT * bce(blocks, share, pos_weight=torch.tensor(2.0)),
    }


class Average:
    """An exponential moving average of the weights."""

    def __init__(self, model: nn.Module, decay: float = 0.995) -> None:
        self.decay, self.values = decay, {k: v.detach().clone() for k, v in model.state_dict().items()}

    def update(self, model: nn.Module) -> None:
        """Move a little towards the present weights."""
        for key, value in model.state_dict().items():
            if value.dtype.is_floating_point:
                self.values[key].lerp_(value, 1 - self.decay)
            else:
                self.values[key] = value.clone()


@torch.no_grad()
def outputs(model: DefacingNet, chosen: list[dataset.Shard], device: str = "cpu") -> dict[str, NDArray[Any]]:
    """Logits of the network that looks both ways, and the truth, of all samples of some shards."""
    both = BothWays(model).eval()
    parts: list[dict[str, NDArray[Any]]] = []
    for batch in dataset.batches(chosen, 32, None):
        with torch.autocast(device, dtype=torch.bfloat16):
            out = both(batch.surfaces.to(device), batch.volumes.to(device))
        parts.append({
            **{key: out[key].float().cpu().numpy() for key in ("joint", "regions", "valid")},
            "attributes": batch.attributes.numpy(), "odd": batch.odd.numpy(), "names": batch.names,
            "brain_ml": batch.brain_ml.numpy(), "kept": batch.kept.numpy(),
        })  # fmt: skip
    return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def accuracy(result: dict[str, NDArray[Any]]) -> dict[str, float]:
    """Raw accuracy of the two questions and of the four classes, over unambiguous samples."""
    logits = torch.from_numpy(result["joint"]).softmax(1).numpy()
    face, brain = logits[:, 1::2].sum(1) > 0.5, logits[:, 4:].sum(1) > 0.5
    truth = result["attributes"]
    clear = (truth[:, 0] >= 0) & (truth[:, 2] >= 0) & ~result["odd"]
    good_face, good_brain = face == (truth[:, 0] == 1), brain == (truth[:, 2] == 1)
    return {
        "four": float((good_face & good_brain)[clear].mean()), "face": float(good_face[clear].mean()),
        "brain": float(good_brain[clear].mean()), "n": int(clear.sum()),
    }  # fmt: skip


def calibrate(logits: NDArray[np.float32], attributes: NDArray[np.int64]) -> dict[str, Any]:
    """Temperature and biases of the joint logits that fit held-out people best (a little drawn towards none)."""
    x, y = torch.from_numpy(logits), torch.from_numpy(attributes)
    log_t, bias = torch.zeros(1, requires_grad=True), torch.zeros(8, requires_grad=True)
    optimiser = torch.optim.LBFGS([log_t, bias], max_iter=100)

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = joint_loss(x / log_t.exp() + bias, y)[0].mean() + 0.01 * (bias**2).mean()
        loss.backward()
        return loss

    optimiser.step(closure)
    return {"temperature": float(log_t.exp()), "bias": [round(float(b), 4) for b in bias]}


@dataclass
class Run:
    """A training under way: what is saved after every epoch and found again after an interruption."""

    model: DefacingNet
    optimiser: Optimiser
    average: Average
    state: Path
    epoch: int = 0
    batch: int = 0  # done in this epoch

    @classmethod
    def start(cls, options: argparse.Namespace, steps: int) -> Run:
        """A new run, or the one that was cut off."""
        model = checkpoint.load_for_training(options.start)[0] if options.start else DefacingNet()
        if options.average:
            between = Average(model, decay=0.5)
            between.update(checkpoint.load_for_training(options.average)[0])
            model.load_state_dict(between.values)
        model = model.to(options.device)
        model.surfaces.to(memory_format=torch.channels_last)
        optimiser = Optimiser(model, options.rate, steps)
        run = cls(model, optimiser, Average(model), options.out.with_suffix(".state"))
        if run.state.exists():
            saved = torch.load(run.state, weights_only=True)
            model.load_state_dict(saved["model"])
            optimiser.load_state_dict(saved["optimiser"])
            run.average.values, run.epoch, run.batch = saved["average"], saved["epoch"], saved["batch"]
        return run

    def save(self) -> None:
        """Write the state, whole or not at all."""
        part = self.state.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "average": self.average.values,
                "epoch": self.epoch,
                "batch": self.batch,
            },
            part,
        )
        part.replace(self.state)

    def averaged(self) -> DefacingNet:
        """The network with the averaged weights, on the CPU."""
        model = DefacingNet(self.model.config)
        model.load_state_dict({k: v.cpu() for k, v in self.average.values.items()})
        return model

    def step(self, batch: dataset.Batch, device: str) -> dict[str, Tensor]:
        """Learn from one batch; the parts of the loss."""
        with torch.autocast(device, dtype=torch.bfloat16):
            out = self.model(batch.surfaces.to(device), batch.volumes.to(device))
        found = losses({k: v.cpu() for k, v in out.items()}, batch)
        self.model.zero_grad(set_to_none=True)
        torch.stack(list(found.values())).sum().backward()
        share_gradients(self.model)
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimiser.step()
        self.average.update(self.model)
        return found


def share_gradients(model: nn.Module) -> None:
    """Every process goes on with the mean of all gradients; alone, with its own."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    together = torch.cat([g.flatten() for g in gradients])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    for gradient, part in zip(gradients, together.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))


def train(options: argparse.Namespace) -> Path:
    """Train in one or several processes; see `work`."""
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if options.processes == 1:
        work(0, options, None)
    else:
        with tempfile.TemporaryDirectory() as folder:
            multiprocessing.spawn(work, args=(options, Path(folder) / "meeting"), nprocs=options.processes)
    return Path(options.out)


def work(rank: int, options: argparse.Namespace, meeting: Path | None) -> None:
    """One process's part: train, resume where a run was cut off, calibrate, write the checkpoint.

    Several processes draw the same batches, each learns from its share of the samples, all move by the mean gradient. They
    wait for each other once a step, the threads of one process many times. Only the first one writes.
    """
    if meeting is not None:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting}", rank=rank, world_size=options.processes
        )
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING, format="%(asctime)s %(message)s"
    )
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    parts = dataset.split(dataset.shards(options.data))
    if options.everyone:
        parts["train"] += parts["test"]
    samples = sum(dataset.size(s, options.without) for s in parts["train"])
    steps = options.epochs * samples // options.batch
    run = Run.start(options, steps)
    log.info(
        "train %d, calibration %d, test %d shards", *(len(parts[k]) for k in ("train", "calibration", "test"))
    )
    started, step = time.monotonic(), run.optimiser.step_count
    while run.epoch < options.epochs:
        rng = np.random.default_rng([options.seed, run.epoch])
        run.model.train()
        for position, batch in enumerate(
            dataset.batches(parts["train"], options.batch, rng, without=options.without)
        ):
            if position < run.batch:  # done before the interruption
                continue
            seed = (options.seed * 1_000_003 + step) * options.processes + rank
            torch.manual_seed(seed)  # the same whether or not the run was cut off
            varied = dataset.vary(batch.share(rank, options.processes), np.random.default_rng(seed))
            found = run.step(varied, options.device)
            run.batch, step = position + 1, step + 1
            if step % 25 == 0:
                shown = " ".join(f"{k} {v.item():.3f}" for k, v in found.items())
                log.info(
                    "epoch %d step %d/%d %s %.0f s", run.epoch, step, steps, shown, time.monotonic() - started
                )
            if step % SAVE_EVERY == 0 and rank == 0:
                run.save()
        run.epoch, run.batch = run.epoch + 1, 0
        if rank > 0:
            continue
        run.save()
        if parts["calibration"] and run.epoch % options.check_every == 0:
            log.info("people left out: %s", accuracy(outputs(run.averaged(), parts["calibration"][:20])))
    if rank == 0:
        finish(run.averaged(), parts, samples if options.epochs else 0, options)
    if meeting is not None:
        distributed.destroy_process_group()


def finish(
    model: DefacingNet, parts: dict[str, list[dataset.Shard]], samples: int, options: argparse.Namespace
) -> None:
    """Calibrate on people left out of the training and write the checkpoint."""
    result = outputs(model, parts["calibration"])
    real = ~result["odd"]
    calibration = calibrate(result["joint"][real], result["attributes"][real])
    facts = checkpoint.Facts(
        config=asdict(model.config), calibration=calibration, valid_below=float(np.quantile(result["valid"][real], 0.005)),
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        data={"shards": {k: len(v) for k, v in parts.items()}, "samples": samples, "seed": options.seed,
              "trained_on_from": checkpoint.file_hash(options.start)[:16] if options.start else None,
              "averaged_with": checkpoint.file_hash(options.average)[:16] if options.average else None,
              "processes": options.processes, "without": sorted(options.without),
              "people": {k: sorted({s.person for s in v}) for k, v in parts.items()}, "epochs": options.epochs},
        metrics={"calibration_people": accuracy(result)},
    )  # fmt: skip
    checkpoint.save(model, facts, options.out, dataset.examples(parts["calibration"]))
    log.info("wrote %s %s", options.out, json.dumps(facts.metrics))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument(
        "out", type=Path, help="NAME.onnx; NAME.pt and, while it runs, NAME.state lie beside it"
    )
    parser.add_argument(
        "--start", type=Path, help="weights (NAME.pt) to train on from; without, from nothing"
    )
    parser.add_argument(
        "--average", type=Path, help="weights trained on from those of --start: begin half way between both"
    )
    parser.add_argument(
        "--epochs", type=int, default=6, help="0: only calibrate and write what it begins with"
    )
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--check-every", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--without", nargs="+", default=(), metavar="NAME",
        help="kinds of mask, fillings and contrasts to leave out of the training, to be judged on them",
    )  # fmt: skip
    parser.add_argument("--everyone", action="store_true", help="train on the test people too")
    options = parser.parse_args()
    if options.average and not options.start:
        parser.error("--average needs --start: half way between which two?")
    train(options)


if __name__ == "__main__":
    main()
