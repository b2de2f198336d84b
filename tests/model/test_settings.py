"""Every ceiling says its unit, its default and what happens when it is hit."""

from __future__ import annotations

import ast
import inspect
from dataclasses import FrozenInstanceError, fields
from itertools import pairwise

import pytest

from relay.model import settings as module
from relay.model.settings import CacheSettings


def test_every_field_is_documented():
    tree = ast.parse(inspect.getsource(module))
    body = next(node for node in tree.body if isinstance(node, ast.ClassDef)).body
    named = [
        (here.target.id, ast.literal_eval(there.value))
        for here, there in pairwise(body)
        if isinstance(here, ast.AnnAssign) and isinstance(there, ast.Expr)
    ]
    assert [name for name, _ in named] == [field.name for field in fields(CacheSettings)]
    assert all(len(text) > 60 for _, text in named)


def test_settings_do_not_change_under_way():
    with pytest.raises(FrozenInstanceError):
        CacheSettings().linger = 1.0
