"""The mutants that the fault harness is tried on still fit the code that they break; the trials are a command's."""

from __future__ import annotations

import pytest
from tests.system.faults.mutants import MUTANTS, changed


@pytest.mark.parametrize("name", MUTANTS)
def test_a_mutant_still_fits_the_code_that_it_breaks(name: str) -> None:
    compile(changed(MUTANTS[name]), MUTANTS[name].file, "exec")
