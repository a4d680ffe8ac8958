"""The ONNX network on the CPU."""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

from .field import Rgb

CLASSES = ("MA", "HE", "EX", "SE", "OD")
"""Output planes, in order: microaneurysms, haemorrhages, hard and soft exudates, optic disc."""

THREADS = 2


def probabilities(picture: Rgb) -> NDArray[np.float32]:
    """A probability for each class and pixel.

    Args:
        picture: as `field.normalise` gives it; rows and columns are multiples of 32.

    Returns:
        (5, rows, columns), planes in the order of `CLASSES`.
    """
    session = _session()
    planes = picture.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    answer: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: planes})[0][0]
    return answer


@cache
def _session():  # type: ignore[no-untyped-def]  # onnxruntime ships no types
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # a tenth slower, 0.4 GiB less at its peak (model card)
    model = resources.files(__package__).joinpath("fundus_lesions.onnx").read_bytes()
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
