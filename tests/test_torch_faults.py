"""Live faults of torch's schedulers, each beside the definition and what the drop-in does instead.

A test fails when torch mends its fault: then the drop-in's equality with torch can be widened.
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler as theirs

from lehr import LehrError
from lehr.torch import dropin as ours

pytestmark = pytest.mark.frameworks

Build = Callable[[Any, Any], Any]


def sgd(*lrs: float, momentum: float = 0.0) -> Any:
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))], "lr": lr} for lr in lrs or (0.1,)]
    return torch.optim.SGD(groups, momentum=momentum)


def lrs(scheduler: Any, steps: int, *reports: float) -> list[float]:
    """The LR of the first group at the start and after every step."""
    used = [float(scheduler.optimizer.param_groups[0]["lr"])]
    for i in range(steps):
        scheduler.optimizer.step()
        scheduler.step(*reports[i : i + 1])
        used.append(float(scheduler.optimizer.param_groups[0]["lr"]))
    return used


def near(values: list[float]) -> Any:
    return pytest.approx(values, rel=1e-12, abs=1e-15)


def half_cosine(t: int, total: int, floor: float = 0.0, peak: float = 0.1) -> float:
    return floor + (peak - floor) * (1 + math.cos(math.pi * t / total)) / 2


# Composites


def nested(of: Any, optimizer: Any) -> Any:
    inner = of.SequentialLR(optimizer, [of.ConstantLR(optimizer, 0.5, 9), of.ExponentialLR(optimizer, 0.9)], [1])
    return of.SequentialLR(optimizer, [of.ConstantLR(optimizer, 0.2, 9), inner], [2])


def test_a_sequence_can_be_a_later_part_of_a_sequence() -> None:
    with pytest.raises(NotImplementedError):
        lrs(nested(theirs, sgd()), 5)
    assert lrs(nested(ours, sgd()), 5) == near([0.02, 0.02, 0.05, 0.1, 0.09, 0.081])


def chain_in_a_sequence(of: Any, optimizer: Any) -> Any:
    chain = of.ChainedScheduler([of.ConstantLR(optimizer, 0.5, 2), of.ExponentialLR(optimizer, 0.9)])
    return of.SequentialLR(optimizer, [of.ConstantLR(optimizer, 0.2, 9), chain], [2])


def test_a_chain_can_be_a_later_part_of_a_sequence() -> None:
    with pytest.raises(NotImplementedError):
        lrs(chain_in_a_sequence(theirs, sgd()), 5)
    assert lrs(chain_in_a_sequence(ours, sgd()), 5) == near([0.02, 0.02, 0.05, 0.045, 0.081, 0.0729])


def wrapped(of: Any, optimizer: Any) -> Any:
    inner = of.SequentialLR(optimizer, [of.ConstantLR(optimizer, 0.5, 9), of.ConstantLR(optimizer, 0.2, 9)], [2])
    return of.SequentialLR(optimizer, [inner], [])


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_a_sequence_of_one_is_that_one() -> None:
    assert lrs(wrapped(theirs, sgd()), 4) == near([0.05, 0.02, 0.02, 0.02, 0.02])  # the first step is lost
    assert lrs(wrapped(ours, sgd()), 4) == near([0.05, 0.05, 0.02, 0.02, 0.02])


def test_a_plateau_can_follow_a_warm_up() -> None:
    def build(of: Any, optimizer: Any) -> Any:
        plateau = of.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        return of.SequentialLR(optimizer, [of.LinearLR(optimizer, 0.5, total_iters=4), plateau], [4])

    with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau`"):
        build(theirs, sgd())
    # Flat from the first report on. It listens from step 4 on: the fifth report is the first, then two are bad.
    values = lrs(build(ours, sgd()), 8, *[1.0] * 8)
    assert values == near([0.05, 0.0625, 0.075, 0.0875, 0.1, 0.1, 0.1, 0.05, 0.05])


def test_a_plateau_can_be_chained() -> None:
    def build(of: Any, optimizer: Any) -> Any:
        plateau = of.ReduceLROnPlateau(optimizer, factor=0.5, patience=0)
        return of.ChainedScheduler([of.ExponentialLR(optimizer, 0.9), plateau])

    with pytest.raises(ValueError, match="does not support `ReduceLROnPlateau`"):
        build(theirs, sgd())
    assert lrs(build(ours, sgd()), 3, 1.0, 1.0, 0.5) == near([0.1, 0.09, 0.081 / 2, 0.0729 / 2])


def test_a_plateau_in_a_sequence_needs_its_metric() -> None:
    optimizer = sgd()
    parts = [ours.LinearLR(optimizer, 0.5, total_iters=2), ours.ReduceLROnPlateau(optimizer)]
    scheduler = ours.SequentialLR(optimizer, parts, [2])
    lrs(scheduler, 2)
    with pytest.raises(LehrError, match="needs the metric"):
        scheduler.step()


def one_cycle_after_a_constant(of: Any, optimizer: Any) -> Any:
    cycle = of.OneCycleLR(optimizer, 1.0, 10, cycle_momentum=False)
    return of.SequentialLR(optimizer, [of.ConstantLR(optimizer, 1.0, 3), cycle], [3])


def test_a_one_cycle_leaves_the_other_phases_their_base() -> None:
    assert lrs(one_cycle_after_a_constant(theirs, sgd()), 2) == near([0.04, 0.04, 0.04])
    values = lrs(one_cycle_after_a_constant(ours, sgd()), 12)
    assert values[:3] == near([0.1, 0.1, 0.1])
    rise = [half_cosine(t, 2, 1.0, 0.04) for t in range(3)]
    assert values[3:] == near(rise + [half_cosine(t, 7, 0.04 / 1e4, 1.0) for t in range(1, 8)])
    assert max(values) == values[5]
    assert values[5] == pytest.approx(1.0)


def test_momentum_is_the_optimizers_own_outside_the_cycle() -> None:
    optimizer = sgd(momentum=0.6)
    parts = [
        ours.ConstantLR(optimizer, 1.0, 3),
        ours.OneCycleLR(optimizer, 1.0, 10),
        ours.ExponentialLR(optimizer, 0.9),
    ]
    assert optimizer.param_groups[0]["momentum"] == 0.95  # as torch has it, from the construction of the cycle on
    scheduler = ours.SequentialLR(optimizer, parts, [3, 13])
    seen = []
    for _ in range(15):
        seen.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    assert seen[:3] + seen[13:] == near([0.6] * 5)
    assert seen[3] == pytest.approx(0.95)
    assert min(seen[3:13]) == pytest.approx(0.85)


def test_every_phase_of_a_sequence_begins_at_the_base_lr() -> None:
    def build(of: Any, optimizer: Any) -> Any:
        later = of.MultiplicativeLR(optimizer, lambda t: 0.9)
        return of.SequentialLR(optimizer, [of.ConstantLR(optimizer, 0.5, 9), later], [3])

    assert lrs(build(theirs, sgd()), 4) == near([0.05, 0.05, 0.05, 0.045, 0.0405])
    assert lrs(build(ours, sgd()), 4) == near([0.05, 0.05, 0.05, 0.1, 0.09])


@pytest.mark.parametrize("milestones", [[5, 3], [0, 3], [-1, 3], [3, 3]])
def test_milestones_must_be_positive_and_increase(milestones: list[int]) -> None:
    def build(of: Any, optimizer: Any) -> Any:
        return of.SequentialLR(optimizer, [of.ConstantLR(optimizer, factor) for factor in (1.0, 0.5, 0.1)], milestones)

    lrs(build(theirs, sgd()), 6)  # not a word
    with pytest.raises(LehrError, match="milestones"):
        build(ours, sgd())


def warm_cosine(of: Any, optimizer: Any) -> Any:
    return of.ChainedScheduler([of.LinearLR(optimizer, 0.1, total_iters=5), of.CosineAnnealingLR(optimizer, 20, 0.01)])


def test_a_chain_is_the_product_of_its_factors_with_a_floor_too() -> None:
    product = [half_cosine(t, 20, 0.01) * (0.1 + 0.9 * min(t / 5, 1)) for t in range(21)]
    assert lrs(warm_cosine(theirs, sgd()), 20) != pytest.approx(product, abs=1e-4)
    assert lrs(warm_cosine(ours, sgd()), 20) == near(product)


def test_the_order_in_a_chain_has_no_meaning() -> None:
    def build(of: Any, optimizer: Any, turned: bool) -> Any:
        parts = [of.ExponentialLR(optimizer, 0.9), of.LambdaLR(optimizer, lambda t: 1 / (1 + t))]
        return of.ChainedScheduler(parts[::-1] if turned else parts)

    one, other = (lrs(build(theirs, sgd(), turned), 4) for turned in (False, True))
    assert one == near([0.1 / (1 + t) for t in range(5)])  # the exponential is lost
    assert other == near([0.1] + [0.9 * 0.1 / (1 + t) for t in range(1, 5)])  # all but its last factor is lost
    for turned in (False, True):
        assert lrs(build(ours, sgd(), turned), 4) == near([0.1 * 0.9**t / (1 + t) for t in range(5)])


def test_composites_say_their_step_and_their_base_lrs() -> None:
    assert not hasattr(warm_cosine(theirs, sgd()), "last_epoch")
    assert not hasattr(warm_cosine(theirs, sgd()), "base_lrs")
    assert not hasattr(theirs.ReduceLROnPlateau(sgd()), "base_lrs")
    for scheduler in (warm_cosine(ours, sgd(0.1, 0.3)), nested(ours, sgd(0.1, 0.3))):
        lrs(scheduler, 3)
        assert (scheduler.last_epoch, scheduler.base_lrs) == (3, [0.1, 0.3])
    assert ours.ReduceLROnPlateau(sgd(0.1, 0.3)).base_lrs == [0.1, 0.3]


# Restoring

ORDER: dict[str, Build] = {
    "ConstantLR": lambda of, o: of.ConstantLR(o, 0.1, 30),
    "LinearLR": lambda of, o: of.LinearLR(o, 0.1, total_iters=30),
    "CosineAnnealingWarmRestarts": lambda of, o: of.CosineAnnealingWarmRestarts(o, 7),
    "CyclicLR": lambda of, o: of.CyclicLR(o, 0.01, 0.2, 7, cycle_momentum=False),
    "OneCycleLR": lambda of, o: of.OneCycleLR(o, 1.0, 40, cycle_momentum=False),
    "LambdaLR": lambda of, o: of.LambdaLR(o, lambda t: 0.9**t),
    "SequentialLR": lambda of, o: of.SequentialLR(o, [of.LinearLR(o, 0.1), of.CosineAnnealingLR(o, 40)], [5]),
    "ChainedScheduler": warm_cosine,
}


@pytest.mark.parametrize("name", ORDER)
def test_a_scheduler_may_be_built_after_the_optimizer_was_loaded(name: str) -> None:
    def resumed(of: Any) -> tuple[list[float], list[float]]:
        """The rest of the run, and of one that was resumed after 10 steps with the optimiser loaded first."""
        scheduler = ORDER[name](of, sgd())
        lrs(scheduler, 10)
        saved = copy.deepcopy(scheduler.optimizer.state_dict()), copy.deepcopy(scheduler.state_dict())
        optimizer = sgd()
        optimizer.load_state_dict(saved[0])
        again = ORDER[name](of, optimizer)
        again.load_state_dict(saved[1])
        return lrs(scheduler, 10), lrs(again, 10)

    wanted, broken = resumed(theirs)
    assert broken != near(wanted)
    if name == "ChainedScheduler":  # torch's own is no product
        wanted = [half_cosine(t, 20, 0.01) for t in range(10, 21)]
    whole, same = resumed(ours)
    assert whole == near(wanted)
    assert same == whole


def cosine_after(of: Any, total: int, state: Any, **how: Any) -> Any:
    scheduler = of.CosineAnnealingLR(sgd(), total)
    scheduler.load_state_dict(copy.deepcopy(state), **how)
    return scheduler


def test_a_changed_length_on_resume_is_not_lost() -> None:
    before, mine = theirs.CosineAnnealingLR(sgd(), 10), ours.CosineAnnealingLR(sgd(), 10)
    lrs(before, 4), lrs(mine, 4)
    assert cosine_after(theirs, 20, before.state_dict()).T_max == 10  # asked for 20
    with pytest.raises(LehrError, match=r"cosine\(10\).*cosine\(20\).*use_new"):
        cosine_after(ours, 20, mine.state_dict())
    new = cosine_after(ours, 20, mine.state_dict(), on_change="use_new")
    assert lrs(new, 16) == near([half_cosine(t, 20) for t in range(4, 21)])
    kept = cosine_after(ours, 20, mine.state_dict(), on_change="keep_saved")
    assert lrs(kept, 6) == near([half_cosine(t, 10) for t in range(4, 11)])
    anchored = cosine_after(ours, 20, mine.state_dict(), on_change="use_new_no_jump")
    assert lrs(anchored, 0) == near([half_cosine(4, 10)])


def test_an_argument_set_in_mid_run_gives_the_new_curve() -> None:
    values = {}
    for of in (theirs, ours):
        scheduler = of.CosineAnnealingLR(sgd(), 10)
        lrs(scheduler, 4)
        scheduler.T_max = 20
        values[of] = lrs(scheduler, 10)[1:]
    wanted = [half_cosine(t, 20) for t in range(5, 15)]
    assert values[theirs] != pytest.approx(wanted, abs=1e-3)
    assert values[ours] == near(wanted)


def test_a_cosine_that_has_ended_can_be_made_longer() -> None:
    values = {}
    for of in (theirs, ours):
        scheduler = of.CosineAnnealingLR(sgd(), 10)
        lrs(scheduler, 10)
        scheduler.T_max = 20
        values[of] = lrs(scheduler, 5)[1:]
    assert values[theirs] == [0.0] * 5
    assert values[ours] == near([half_cosine(t, 20) for t in range(11, 16)])


def test_other_changed_arguments_are_not_lost_either() -> None:
    cycle = theirs.OneCycleLR(sgd(), 1.0, 20, cycle_momentum=False)
    cycle.load_state_dict(theirs.OneCycleLR(sgd(), 1.0, 10, cycle_momentum=False).state_dict())
    assert cycle.total_steps == 10
    plateau = theirs.ReduceLROnPlateau(sgd(), patience=50)
    plateau.load_state_dict(theirs.ReduceLROnPlateau(sgd(), patience=2).state_dict())
    assert plateau.patience == 2
    with pytest.raises(LehrError, match="saved"):
        ours.OneCycleLR(sgd(), 1.0, 20, cycle_momentum=False).load_state_dict(
            ours.OneCycleLR(sgd(), 1.0, 10, cycle_momentum=False).state_dict()
        )
    for change in ({"patience": 2}, {"threshold": 0.1}, {"cooldown": 3}, {"factor": 0.5}):
        with pytest.raises(LehrError, match="saved"):
            ours.ReduceLROnPlateau(sgd()).load_state_dict(ours.ReduceLROnPlateau(sgd(), **change).state_dict())


def test_loading_leaves_the_state_as_it_was() -> None:
    def build(of: Any) -> Any:
        return of.CyclicLR(sgd(), 0.01, 0.1, 5, cycle_momentum=False)

    state = build(theirs).state_dict()
    build(theirs).load_state_dict(state)
    with pytest.raises(KeyError, match="_scale_fn_custom"):
        build(theirs).load_state_dict(state)
    state = build(ours).state_dict()
    kept = copy.deepcopy(state)
    for _ in range(2):
        build(ours).load_state_dict(state)
    assert state == kept


def test_a_state_is_a_snapshot() -> None:
    scheduler = theirs.MultiStepLR(sgd(), [5])
    scheduler.state_dict()["milestones"].clear()
    assert lrs(scheduler, 6) == near([0.1] * 7)  # the milestone is gone
    mine = ours.MultiStepLR(sgd(), [5])
    mine.state_dict()["tracks"].clear()
    mine.state_dict()["bases"]["lr"][0] = 9.0
    assert lrs(mine, 6) == near([0.1] * 5 + [0.01] * 2)


def test_loading_the_scheduler_alone_sets_the_lr() -> None:
    for of, value in ((theirs, 0.1), (ours, 0.001)):
        before = of.StepLR(sgd(), 2)
        lrs(before, 5)
        scheduler = of.StepLR(sgd(), 2)
        scheduler.load_state_dict(before.state_dict())
        assert lrs(scheduler, 0) == near([value])


def test_the_last_lr_is_that_of_the_optimizer() -> None:
    state = sgd(0.5).state_dict()
    for of, told, held in ((theirs, 0.1, 0.5), (ours, 0.1, 0.1)):
        scheduler = of.StepLR(sgd(), 2)
        scheduler.optimizer.load_state_dict(copy.deepcopy(state))
        assert scheduler.get_last_lr() == [told]
        assert scheduler.optimizer.param_groups[0]["lr"] == held


def test_a_state_for_other_groups_is_refused_when_it_is_loaded() -> None:
    scheduler = theirs.LambdaLR(sgd(), lambda t: 0.9**t)
    scheduler.load_state_dict(theirs.LambdaLR(sgd(0.1, 0.2), lambda t: 0.9**t).state_dict())
    with pytest.raises(ValueError, match="zip"):
        lrs(scheduler, 1)  # hours later
    mine = ours.LambdaLR(sgd(), lambda t: 0.9**t)
    with pytest.raises(LehrError, match="had 2 parameter groups"):
        mine.load_state_dict(ours.LambdaLR(sgd(0.1, 0.2), lambda t: 0.9**t).state_dict())


def test_a_state_of_torch_s_own_is_refused_with_the_remedy() -> None:
    before = theirs.StepLR(sgd(), 2)
    lrs(before, 5)
    scheduler = ours.StepLR(sgd(), 2)
    with pytest.raises(LehrError, match=r"call step\(5\)"):
        scheduler.load_state_dict(before.state_dict())
    scheduler.step(5)
    assert lrs(scheduler, 3) == near(lrs(before, 3))


def test_another_function_on_resume_is_noticed() -> None:
    def slow(t: int) -> float:
        return 0.9**t

    def fast(t: int) -> float:
        return 0.5**t

    scheduler = theirs.LambdaLR(sgd(), fast)
    scheduler.load_state_dict(theirs.LambdaLR(sgd(), slow).state_dict())  # not a word
    with pytest.raises(LehrError, match=r"slow.*fast"):
        ours.LambdaLR(sgd(), fast).load_state_dict(ours.LambdaLR(sgd(), slow).state_dict())


def test_a_new_scheduler_takes_the_lr_that_was_set_by_hand() -> None:
    for of, value in ((theirs, 0.1), (ours, 0.5)):
        optimizer = sgd()
        of.LambdaLR(optimizer, lambda t: 1.0)
        optimizer.param_groups[0]["lr"] = 0.5
        of.LambdaLR(optimizer, lambda t: 1.0)
        assert optimizer.param_groups[0]["lr"] == value


def test_an_optimizer_can_be_loaded_with_weights_only() -> None:
    def saved(of: Any) -> io.BytesIO:
        optimizer = sgd()
        lrs(of.LambdaLR(optimizer, lambda t: np.float64(0.9) ** t), 2)
        file = io.BytesIO()
        torch.save(optimizer.state_dict(), file)
        file.seek(0)
        return file

    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(saved(theirs), weights_only=True)
    assert torch.load(saved(ours), weights_only=True)["param_groups"][0]["lr"] == pytest.approx(0.081)
