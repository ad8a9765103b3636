"""After any interruption the same command ends well: the cluster verifies, nothing is left to do, nothing is lost."""

import os
import time

import pytest

from interruptions import cases
from interruptions.conftest import earlier
from interruptions.lab import Run

HOLD = {"ssh-cut": 45, "packet-loss": 60, "slow-disk": 60, "disk-full": 120}  # seconds that a fault lasts, at most
BEFORE = ("disk-full",)  # is there before the phase begins


def test_after_it_the_same_command_ends_well(case, lab, note):
    if earlier().get(case.id, {}).get("survived") and not os.environ.get("KUBESMITH_AGAIN"):
        pytest.skip("passed in an earlier run with this seed")
    lost = half = 0
    stopped = survived = False
    began = time.monotonic()
    try:
        lab.prepare(case)
        phase = cases.UP.get(case.moment.phase, "")
        if case.fault in BEFORE:
            lab.strike(case, None)
        run = Run(lab, case.moment.verb)
        reached = run.began(phase, 300) if phase else True
        if case.fault not in BEFORE:
            assert reached, f"{phase} never began: {''.join(run.lines)[-2000:]}"
            time.sleep(lab.seconds(case, phase))
            lab.strike(case, run)
        if case.fault in HOLD:
            run.ended_within = _until(run, HOLD[case.fault])
            lab.mend(case)
        code = run.ended()
        lab.mend(case)
        stopped = code != 0
        survived, lost, half = _checked(lab, case)
    finally:
        note(case, stopped=stopped, survived=survived, lost=lost, half=half, seconds=round(time.monotonic() - began))
    assert (lost, half) == (0, 0)


def _until(run, seconds):
    """Wait until a run has ended, or for so long; tell whether it has."""
    ends = time.monotonic() + seconds
    while run.process.poll() is None and time.monotonic() < ends:
        time.sleep(0.2)
    return run.process.poll() is not None


def _checked(lab, case):
    """Run the same command again and look at everything; return (True, objects lost, half-written files)."""
    if case.moment.verb != ("up",):
        done = lab.run(*case.moment.verb)
        assert done.returncode == 0, done.stdout[-5000:]
    again = Run(lab, ("up",))  # which verifies
    code = again.ended()
    assert code == 0, "".join(again.lines)[-6000:]
    lab.tidy(case)
    plan = lab.run("plan", "--exit-code")
    assert plan.returncode == 0, f"up ended well and left something to do: {plan.stdout[-3000:]}"
    half = lab.half_written()
    lost = []
    if case.moment.phase != "control-plane":  # whose preparation took the whole cluster off
        now = lab.objects()
        lost = [name for name, row in lab.kept.items() if now.get(name) != row]
    lab.remember()
    assert half == []
    assert lost == []
    return True, len(lost), len(half)
