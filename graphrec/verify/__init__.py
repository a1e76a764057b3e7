"""What holds on this machine: blocks (block/), kernels (kernels/), what is installed."""
