"""The same recipe on many processes: torchrec's sharded tables, torch's DDP, elastic's agent.

    launch.py            `--nproc N`: the agent that starts the ranks and ends them
    torchrec_library.py  torchrec, loaded late and quietly
    ranks.py             the ranks of a job: who am I, gather, broadcast, one diagnostic of all
    refusals.py          what can't be had on many processes, told before the first row
    collections.py       tables of a model as torchrec collections, and what is read from them
    planning.py          torchrec's planner: for the job that runs, and for ranks that are not there
    sharding_plan.py     what a plan says: the machines, the parts of tables
    shards.py            the local parts of tables and their optimizer state
    sharded_step.py      what torchrec runs: lookups, then the generated module; its pipeline
    engine.py            that under DistributedModelParallel, with a plan
    spans.py             which rows of an epoch belong to which rank
    loader.py            the batches of a rank
    evaluation.py        scores of all ranks, evaluated as one process does
    trainer.py           the training loop on every rank
    job.py               what `train` needs of many processes

Nothing here is imported by a job of one process.
"""
