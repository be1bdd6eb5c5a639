"""MXNet's operators: which there are, what code each one needs, and what goes without the others.

`libmxnet.so` registers its operators when it is loaded: names, and functions for each. So it is
loaded once, and asked (`registry`); its code is read as a graph (layerpack.elf.code), in which
everything that is reached from operators that go, and from nothing that stays, is dropped
(`choose`, `reduce`).
"""
