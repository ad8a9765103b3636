"""The choice of interruptions: repeatable, complete before anything comes again, and divisible."""

import pytest
from interruptions import cases

VERBS = ("up", "certs", "secrets", "backup")


def test_a_seed_repeats_its_choice():
    one, again, other = (cases.choose(VERBS, seed, 60) for seed in (7, 7, 8))
    assert one == again
    assert one != other
    assert len(one) == 60


def test_every_pair_comes_once_before_any_comes_again():
    pairs = [(m, f) for m in cases.moments(VERBS) for f in cases.FAULTS if cases.sensible(m, f)]
    chosen = cases.choose(VERBS, 1, len(pairs))
    assert {(case.moment, case.fault) for case in chosen} == set(pairs)
    assert len({case.id for case in cases.choose(VERBS, 1, 300)}) > 290


def test_sixty_cases_have_every_fault_and_every_phase():
    chosen = cases.choose(VERBS, 3, 60)
    assert {case.fault for case in chosen} == set(cases.FAULTS)
    assert {case.moment.phase for case in chosen} >= set(cases.UP)


def test_verbs_that_do_not_exist_are_left_out():
    assert {case.moment.verb for case in cases.choose(("up",), 1, 60)} == {("up",)}


def test_parts_are_the_whole():
    whole = cases.choose(VERBS, 1, 60)
    parts = [cases.part(whole, f"{index}/7") for index in range(1, 8)]
    assert sorted(case.id for part in parts for case in part) == sorted(case.id for case in whole)
    with pytest.raises(ValueError, match="8/7"):
        cases.part(whole, "8/7")
