"""The analyser's contract, read tolerantly and concluded from strictly; no I/O.

Source: "Netra API Developer Documentation, Netra API 1.0", the vendor's only document. It contradicts itself; every
contradiction that we know is read both ways, and none is resolved by guessing.
"""
