"""The end of the service, by a clock that the test turns."""

from forge.lifecycle import Lifecycle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_serves_until_told_to_drain() -> None:
    lifecycle = Lifecycle(grace=0)
    assert not lifecycle.draining
    assert not lifecycle.may_stop()


def test_stops_at_once_when_there_is_no_work() -> None:
    lifecycle = Lifecycle(grace=30)
    lifecycle.drain()
    assert lifecycle.draining
    assert lifecycle.may_stop()
    assert not lifecycle.cutoff.is_set()


def test_waits_for_the_delay_even_without_work() -> None:
    clock = Clock()
    lifecycle = Lifecycle(grace=30, drain_delay=5, clock=clock)
    lifecycle.drain()
    clock.now += 4.9
    assert not lifecycle.may_stop()
    clock.now += 0.1
    assert lifecycle.may_stop()


def test_a_delay_above_the_grace_period_does_not_lengthen_it() -> None:
    clock = Clock()
    lifecycle = Lifecycle(grace=2, drain_delay=60, clock=clock)
    lifecycle.drain()
    clock.now += 2
    assert lifecycle.may_stop()


def test_work_in_hand_is_waited_for_and_then_cut_off() -> None:
    clock = Clock()
    lifecycle = Lifecycle(grace=30, clock=clock)
    with lifecycle.work():
        assert lifecycle.open == 1
        lifecycle.drain()
        clock.now += 29.9
        lifecycle.drain()  # Again: the grace period does not start anew.
        assert not lifecycle.may_stop()
        assert not lifecycle.cutoff.is_set()
        clock.now += 0.1
        assert lifecycle.may_stop()
        assert lifecycle.cutoff.is_set()


def test_work_that_ends_lets_it_stop() -> None:
    lifecycle = Lifecycle(grace=30)
    with lifecycle.work():
        lifecycle.drain()
        assert not lifecycle.may_stop()
    assert lifecycle.open == 0
    assert lifecycle.may_stop()
