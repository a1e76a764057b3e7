"""Triton kernels and their launchers; each module imports triton, so import none at the top."""
