"""Sums in 64 bits inside programs of 32, so that rules decide in JAX as they do on the host.

The host computes in float64, JAX without 64-bit numbers in float32, and a threshold does not forgive the difference.
So a controller computes a handful of scalars in float64, whatever JAX is set to, and stores each as three float32 whose
sum it is: the number rounded, and twice what is left. That is exact for what lies between 1e-22 and 3e38; it has the
same shape with 64-bit numbers and without; the first of the three is what a human reads; and unlike the bits of a
float64 it needs nothing that an accelerator lacks. NaN, which stands for "none yet", is stored as ∞ − ∞, so that
`jax_debug_nans` finds nothing to complain of.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

__all__ = ["LARGEST", "choose", "in_64_bits", "packed", "rounded", "single", "stored", "unpacked"]

Tree = TypeVar("Tree")

LARGEST = float(np.finfo(np.float64).max)


@contextmanager
def in_64_bits() -> Iterator[None]:
    """A context in which JAX computes with 64 bits and counts times floats, however strictly the caller promotes."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


def rounded(product: Any) -> Any:
    """A product as a number of its own: without this XLA fuses it with the sum it goes into, and rounds only once.

    (An optimisation barrier and a precision that is reduced to its own are both taken away before that happens.)
    """
    return jnp.clip(product, -LARGEST, LARGEST)


def single(x: Any) -> Any:
    """Rounded to float32, and still a float64. A plain conversion there and back may be optimised away."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=23)


def choose(condition: Any, a: Tree, b: Tree) -> Tree:
    """`a` where the condition holds, else `b`: of numbers, or of trees of them."""
    chosen: Tree = jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
    return chosen


def packed(tree: Tree) -> Tree:
    """Numbers of 64 bits as they are stored: floats as three of 32 bits each, integers as one."""
    return _each(_packed, tree)


def unpacked(tree: Tree) -> Tree:
    """The inverse of `packed`."""
    return _each(_unpacked, tree)


def stored(tree: Tree) -> Tree:
    """Plain numbers that float32 holds exactly, as `packed` stores them: what a memory begins with."""
    return _each(_stored, tree)


def _packed(x: Any) -> Any:
    x = jnp.asarray(x)
    if x.dtype == jnp.bool_:
        return x
    if jnp.issubdtype(x.dtype, jnp.integer):
        return x.astype(jnp.int32)
    none = jnp.isnan(x)
    rest, parts = jnp.where(none, jnp.inf, rounded(x)), []
    for _ in range(3):
        part = single(rest)
        parts.append(part)
        rest = jnp.where(jnp.isfinite(part), rest - part, 0.0)
    parts[1] = jnp.where(none, -jnp.inf, parts[1])
    return jnp.stack(parts, axis=-1).astype(jnp.float32)


def _unpacked(x: Any) -> Any:
    if x.dtype == jnp.bool_:
        return x
    if jnp.issubdtype(x.dtype, jnp.integer):
        return x.astype(jnp.int64)
    first, second, third = jnp.moveaxis(x.astype(jnp.float64), -1, 0)
    return (first + second) + third


def _stored(x: Any) -> Any:
    given = np.asarray(x)
    if given.dtype == np.bool_:
        return jnp.asarray(given)
    if np.issubdtype(given.dtype, np.integer):
        return jnp.asarray(given, dtype=jnp.int32)
    none, zero = np.isnan(given), np.zeros_like(given)
    parts = [np.where(none, np.inf, given), np.where(none, -np.inf, zero), zero]
    return jnp.asarray(np.stack(parts, axis=-1), dtype=jnp.float32)


def _each(function: Any, tree: Tree) -> Tree:
    changed: Tree = jax.tree.map(function, tree)
    return changed
