"""The whole battery over random compositions, up to six levels deep: what every schedule promises, and a run of it.

`LEHR_COMPOSITIONS=1000 pytest tests/test_schedules_compositions.py tests/test_schedules_jax.py` draws a thousand.
"""

import copy
import json
import pickle

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lehr
from drawn import COMPOSITIONS, FAR, HORIZON, resolved, schedules
from lehr.schedules import Schedule
from lehr.text import parse

battery = settings(max_examples=COMPOSITIONS, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])


@battery
@given(schedules, st.lists(st.integers(0, 2000), max_size=20))
def test_every_composition_reads_back_is_total_and_the_same_in_vectors(schedule: Schedule, steps: list[int]) -> None:
    assert parse(repr(schedule)) == parse(schedule.text(full=True)) == schedule
    assert repr(parse(repr(schedule))) == repr(schedule)
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule
    curve = resolved(schedule)
    edges = [part.start for part in curve.parts] + [part.stop or 0 for part in curve.parts]
    every = np.array(sorted({*steps, *edges, *(max(edge - 1, 0) for edge in edges), 0, 1, *FAR}))
    values = curve(every)
    assert np.isfinite(values).all()
    assert (values >= 0).all()
    assert (values <= curve.bound).all()
    assert values.tobytes() == np.array([curve(step) for step in every.tolist()]).tobytes()
    if curve.length is not None:
        assert (values[every >= curve.length] == curve.end).all()
    assert curve(every).tobytes() == parse(repr(schedule)).resolve(HORIZON, lr=0.1)(every).tobytes()


@battery
@given(schedules, st.integers(0, 1100), st.integers(1, 60))
def test_a_run_that_is_cut_anywhere_goes_on_bit_by_bit(schedule: Schedule, cut: int, more: int) -> None:
    resolved(schedule)
    run = lehr.start(schedule, lr=0.1, horizon=HORIZON)
    run.load_state_dict(run.state_dict() | {"step": cut})  # as if it had come so far
    whole = [run.lr]
    for i in range(more):
        if i == more // 2:
            saved = json.loads(json.dumps(run.state_dict(), allow_nan=False))
        run.step()
        whole.append(run.lr)
    again = lehr.start(schedule, lr=0.1, horizon=HORIZON)
    again.load_state_dict(saved)
    tail = [again.lr]
    for _ in range(more - more // 2):
        again.step()
        tail.append(again.lr)
    assert tail == whole[more // 2 :]
    curve = schedule.resolve(HORIZON, lr=0.1)
    assert whole == [0.1 * curve(cut + i) for i in range(more + 1)]


@battery
@given(schedules, schedules, st.integers(0, 900), st.sampled_from([300, 1000, 4000]), st.booleans())
def test_a_plan_can_be_changed_at_any_step_to_any_other(
    one: Schedule, other: Schedule, at: int, steps: int, no_jump: bool
) -> None:
    resolved(one), resolved(other)
    horizon = lehr.Horizon(steps, 50, 32, 2048)
    run = lehr.start(one, lr=0.1, horizon=HORIZON)
    run.load_state_dict(run.state_dict() | {"step": at})
    try:
        curve = other.resolve(horizon, lr=0.1)
    except lehr.LehrError:
        return  # what is left of a short run may not do for it; then nothing is changed
    before = run.lr
    seen = run.preview(other, horizon=horizon, no_jump=no_jump)
    assert run.lr == before == seen.before[0]
    if no_jump and curve(at) == 0:
        return  # there it has to jump, and warns
    run.replan(other, horizon=horizon, no_jump=no_jump)
    assert run.events[-1].kind == "replan"
    assert run.lr == seen.after[0]
    if no_jump:
        assert abs(run.lr - before) <= 4e-16 * before
    else:
        assert run.lr == 0.1 * curve(at)
    state = json.loads(json.dumps(run.state_dict()))
    again = lehr.start(other, lr=0.1, horizon=horizon)
    again.load_state_dict(state)
    assert again.lr == run.lr
