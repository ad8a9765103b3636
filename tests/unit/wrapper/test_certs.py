"""`certs`: what makes a row wrong, and in which words."""

import sys
from datetime import UTC, datetime, timedelta

import pytest

from kubesmith import cli
from kubesmith.commands import certs, reset
from kubesmith.errors import InputError


def row(days, **more):
    ends = (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds")
    return {"node": "cp1", "path": "/x.crt", "ends": ends, "served_ends": None, "served_serial": None, **more}


@pytest.mark.parametrize(
    ("days", "more", "is_wrong"),
    [
        (31, {"current": None}, False),
        (29, {"current": None}, True),
        (-1, {"current": True}, True),
        (300, {"current": False}, True),
        (300, {"current": True}, False),
        (300, {"current": True, "served_ends": "2000-01-01T00:00:00+00:00"}, True),
    ],
)
def test_what_makes_a_row_wrong(days, more, is_wrong):
    assert certs.wrong(row(days, **more), 30) is is_wrong


def test_time_left_in_words():
    assert certs.left(row(90.5)["ends"]) == "90 d"
    assert certs.left(row(1 / 24 + 0.001)["ends"]).startswith("1 h ")
    assert certs.left(row(-2)["ends"]) == "ended"


def test_one_that_a_program_does_not_show_yet_says_which_it_shows():
    text = certs.reason(row(300, current=False, process="etcd", served_serial="2a", served_ends="2027-01-01"), 30)
    assert text == "etcd still shows another one, number 2a, that ends 2027-01-01"


@pytest.mark.parametrize("days", ["0", "-3", "soon", "nan"])
def test_a_bound_that_is_no_number_of_days_is_refused(days, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parser().parse_args(["certs", "--within", days])
    assert ended.value.code == 2
    assert "days" in capsys.readouterr().err


class Cluster:
    """As much of a job as the question for the name needs."""

    class spec:
        class cluster:
            name = "prod"

    assume_yes = False


def test_a_reset_wants_the_name_typed(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _text: "prod")
    reset.confirm(Cluster())
    monkeypatch.setattr("builtins.input", lambda _text: "y")
    with pytest.raises(InputError, match="'y' is not its name"):
        reset.confirm(Cluster())


def test_a_reset_that_nobody_confirms_is_refused(monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(InputError, match="nobody is there"):
        reset.confirm(Cluster())
