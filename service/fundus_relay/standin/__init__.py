"""A stand-in for the analyser's API, for demonstration and tests. NO MEDICAL DEVICE: nothing here is for care.

It really looks at pictures, with a small network of our own (see `eyes/MODEL_CARD.md`), and speaks the vendor's
document with all its contradictions. Nothing else in this package imports it but `commands`.
"""
