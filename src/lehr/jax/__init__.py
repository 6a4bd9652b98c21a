"""Lehr in JAX: schedules and controllers for optax.

Three ways, by what the policy needs: `schedule` for one without rules (a function of the count); `controller` for rules
that are decided inside `jit`; `hosted` for any rules, decided by a run on the host that compiled updates ask.
"""

from lehr.extras import needs

with needs("jax"):
    from lehr.jax.controller import ControllerState, controller, controller_state, why
    from lehr.jax.hosted import HostedState, hosted, settle
    from lehr.jax.schedule import schedule
    from lehr.jax.window import report

__all__ = [
    "ControllerState",
    "HostedState",
    "controller",
    "controller_state",
    "hosted",
    "report",
    "schedule",
    "settle",
    "why",
]
