"""Checkpoints that are quantised already: GPTQ, AWQ, compressed-tensors, bitsandbytes and blocks of FP8.

Each layer is read by its own tensors: their names, types and shapes tell its width, its groups and their
order, exactly or not at all. What the config says of them is compared, and the rules by which it names
layers (`dynamic`, `targets`, `ignore`) are not followed: they say nothing that the tensors do not, and
their patterns are programs of a stranger. Integers are kept where MatMulNBits holds them exactly, as

    weight[n, k] = (integer[n, k] - zero[n, group]) * scale[n, group]

with groups of consecutive inputs; otherwise the layer becomes float, and a note says why.
"""
