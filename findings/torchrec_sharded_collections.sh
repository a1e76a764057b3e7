#!/usr/bin/env bash
# Four things that torchrec's sharded collections do on CPUs (gloo) without an error or a warning. Seen
# with torch 2.13.0+cpu, torchrec 1.8.0, fbgemm-gpu-cpu 1.8.0, Linux x86-64. It installs these
# into a temporary folder, and starts two processes of this machine.
#
# 1. Columns move. `EmbeddingBagCollection(...)(kjt).values()` of a table-wise sharded collection has its
#    features grouped by rank; unsharded they stand in the order of the tables. `kt[key]` is right.
# 2. Weights are lost. The collection that is sharded has weights; the sharded one has drawn others.
# 3. The optimizer is lost. `apply_optimizer_in_backward` on a table that the plan makes data_parallel
#    leaves no trace: `fused_optimizer` has nothing, and the table is an ordinary parameter of the
#    module, which an optimizer over the remaining parameters (the documented in_backward_optimizer_filter)
#    then updates with the dense rule.
# 4. Epsilon changes. RowWiseAdagrad's default is 1e-10; asked for in backward without eps, FBGEMM takes
#    its own 1e-8: a first step of a small gradient is another one.
# Exit status 0 as long as all four are so.
set -euo pipefail
# pip must be set up so that it takes the CPU build of torch; the script stops at another.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q torch==2.13.0 numpy
"$work/venv/bin/pip" install -q --no-deps torchrec==1.8.0 fbgemm-gpu-cpu==1.8.0
"$work/venv/bin/pip" install -q pyre-extensions==0.0.32 tensordict==0.15.3 torchmetrics==1.0.3 tqdm
PYTHON="$work/venv/bin/python"
"$PYTHON" -c 'import torch; assert torch.version.cuda is None, "not the CPU build"'
folder=$work
cat > "$folder/seen.py" <<'PY'
import logging
import warnings

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
import torch
import torch.distributed as dist
from torch.distributed.optim import _apply_optimizer_in_backward as in_backward
from torchrec import EmbeddingBagCollection, EmbeddingBagConfig, KeyedJaggedTensor
from torchrec.distributed.model_parallel import DistributedModelParallel
from torchrec.distributed.planner import EmbeddingShardingPlanner, ParameterConstraints, Topology
from torchrec.optim.optimizers import in_backward_optimizer_filter
from torchrec.optim.rowwise_adagrad import RowWiseAdagrad

dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
KEYS = ["a", "b", "c", "d"]


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.bags = EmbeddingBagCollection(
            [EmbeddingBagConfig(num_embeddings=9, embedding_dim=4, name=k, feature_names=[k]) for k in KEYS]
        )

    def forward(self, ids):
        return self.bags(ids)


def sharded(how, eps=None):
    torch.manual_seed(0)
    plain = Net()
    torch.manual_seed(0)
    net = Net()
    in_backward(RowWiseAdagrad, net.parameters(), {"lr": 1.0} | ({} if eps is None else {"eps": eps}))
    plan = EmbeddingShardingPlanner(
        topology=Topology(world_size=world, compute_device="cpu"),
        constraints={k: ParameterConstraints(sharding_types=[how]) for k in KEYS},
        debug=False,
    ).collective_plan(net)
    return plain, DistributedModelParallel(net, device=torch.device("cpu"), plan=plan)


def local(dmp):
    """Local weights of every table of this rank."""
    found = {}
    for name, tensor in dmp.state_dict().items():
        shards = tensor.local_shards() if hasattr(tensor, "local_shards") else None
        if shards is None:
            found[name] = tensor
        elif shards:
            found[name] = shards[0].tensor
    return found


ids = KeyedJaggedTensor(KEYS, torch.arange(8) % 9, lengths=torch.ones(8, dtype=torch.int32))
plain, dmp = sharded("table_wise")
before = plain.state_dict()
lost = [k for k, w in local(dmp).items() if not torch.equal(w, before[k])]
with torch.no_grad():
    for k, w in local(dmp).items():
        w.copy_(before[k])
expected, found = plain(ids), dmp(ids)
same_values = torch.equal(expected.values(), found.values())
same_keys = all(torch.equal(expected[k], found[k]) for k in KEYS)
order = list(found.keys())

steps = {}
for eps in (None, 1e-8, 1e-10):
    plain, dmp = sharded("table_wise", eps)
    start = {k: w.clone() for k, w in local(dmp).items()}
    (dmp(ids).values().sum() * 1e-8).backward()
    steps[eps] = max(float((w - start[k]).abs().max()) for k, w in local(dmp).items())

_, replicated = sharded("data_parallel")
fused = len(list(replicated.fused_optimizer.params))
dense = len(dict(in_backward_optimizer_filter(replicated.named_parameters())))
if rank == 0:
    print("torch", torch.__version__)
    print(f"1. order {list(expected.keys())} becomes {order}; values() equal: {same_values}, by key: {same_keys}")
    print(f"2. tables of rank 0 whose weights are not those of the module that was sharded: {len(lost)}")
    print(f"3. data_parallel: {fused} parameters in the fused optimizer, {dense} left to the dense one")
    print(f"4. first step of a gradient of 5e-9: no eps {steps[None]:.4f}, 1e-8 {steps[1e-8]:.4f}, 1e-10 {steps[1e-10]:.4f}")
assert not same_values and same_keys and order != KEYS
assert lost and fused == 0 and dense > 0
assert abs(steps[None] - steps[1e-8]) < 1e-4 < abs(steps[None] - steps[1e-10])
dist.destroy_process_group()
PY
OMP_NUM_THREADS=1 "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node 2 "$folder/seen.py"
