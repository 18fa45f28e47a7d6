"""Odd manifests, from elsewhere or damaged: one line each, and no file outside the folder."""

import copy
import json
from itertools import islice

import pytest
from data.made_up import data_module

from protein_performer.data.manifest import MANIFEST, verify
from protein_performer.errors import UserError

OTHERS = [None, -1, 10**30, "../../victim", [], {}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    module = data_module(tmp_path_factory.mktemp("made"))
    module.prepare_data()
    return module.folder


def places(value, place=()):
    """Where anything stands; of lists the first two members."""
    yield place
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from places(inner, (*place, key))
    elif isinstance(value, list):
        for number, inner in enumerate(islice(value, 2)):
            yield from places(inner, (*place, number))


def changed(manifest, place, *other):
    """The manifest with another value at a place, or without one."""
    manifest = copy.deepcopy(manifest)
    inner = manifest
    for key in place[:-1]:
        inner = inner[key]
    inner.pop(place[-1])
    if other:
        inner[place[-1]] = other[0]
    return manifest


def test_whatever_a_manifest_says_is_used_or_refused_in_one_line(folder, tmp_path):
    whole = json.loads((folder / MANIFEST).read_text())
    odd = [None, 1, "x", []]
    for place in islice(places(whole), 1, None):
        if not isinstance(place[-1], int):
            odd.append(changed(whole, place))
            odd.extend(changed(whole, place, other) for other in OTHERS)
    said = []
    for number, manifest in enumerate(odd):
        (folder / MANIFEST).write_text(json.dumps(manifest))
        try:
            module = data_module(tmp_path, prepared=folder)
            assert module.preprocessing is not None
            str(module.report())
            if number % 7 == 0:
                next(iter(module.train_dataloader()))
                verify(folder)
        except UserError as error:
            said.append(str(error))
    (folder / MANIFEST).write_text(json.dumps(whole))
    verify(folder)
    assert len(said) > 0.6 * len(odd)
    assert not [each for each in said if "\n" in each]


@pytest.mark.parametrize("name", ["../../victim", "/victim", "valid/../../x"])
def test_a_split_of_another_name_is_refused(folder, name):
    whole = json.loads((folder / MANIFEST).read_text())
    manifest = copy.deepcopy(whole)
    manifest["splits"][name] = manifest["splits"]["test"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="splits: expected"):
        verify(folder)
    del manifest["splits"]["test"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"expected splits\.test"):
        verify(folder)
    (folder / MANIFEST).write_text(json.dumps(whole))
