import runpy
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ascend_serve.artifacts.manifest import ArtifactFile, Manifest, set_digest
from ascend_serve.errors import ArtifactError, ConfigError
from ascend_serve.spec.toolchain import Toolchain

pytestmark = pytest.mark.unit

t = runpy.run_path(str(Path(__file__).with_name("store_tools.py")))
SHA = "a" * 64
names = st.lists(
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,9}", fullmatch=True), min_size=1, max_size=3
).map("/".join)
files = st.builds(
    ArtifactFile, names, st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.integers(0, 1 << 50)
)
# The integers that JSON readers other than ours keep too.
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
json_objects = st.dictionaries(st.text(), json_values, max_size=3)
manifests = st.builds(
    Manifest,
    key=st.from_regex(r"[0-9a-f]{64}", fullmatch=True),
    name=st.text(),
    soc=st.text(),
    toolchain=st.builds(Toolchain, st.text(), st.text()),
    files=st.lists(files, min_size=1, max_size=4, unique_by=lambda file: file.name).map(tuple),
    spec=st.just(t["SPEC"]),
    unservable=st.just(""),
    origin=st.sampled_from(["built", "imported"]),
    recipe=json_objects,
    seconds=st.floats(0, 1e9),
    created=st.text(),
    verification=st.none() | json_objects,
    details=json_objects,
) | st.builds(
    lambda manifest, reason: replace(manifest, spec=None, unservable=reason),
    st.deferred(lambda: manifests),
    st.text(min_size=1),
)


@given(manifests)
def test_manifests_round_trip(manifest):
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.fixture
def manifest(tmp_path):
    return t["manifest_of"](t["model_files"](tmp_path))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"schema": 2}', b"\xff"])
def test_what_is_no_manifest_is_refused(data):
    with pytest.raises(ArtifactError, match="not a manifest"):
        Manifest.from_json(data)


def test_a_manifest_of_another_schema_is_refused_by_number(manifest):
    with pytest.raises(ArtifactError, match="schema 1, this version reads 2"):
        Manifest.from_json(manifest.to_json().replace(b'"schema": 2', b'"schema": 1'))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "", ".", "a\0b"])
def test_a_name_that_leaves_its_folder_is_refused_from_any_store(manifest, name):
    with pytest.raises(ConfigError, match="file name"):
        ArtifactFile(name, SHA, 1)
    told = orjson.loads(manifest.to_json())
    told["files"][0]["name"] = name
    with pytest.raises(ArtifactError, match="not a manifest: ConfigError: file name"):
        Manifest.from_json(orjson.dumps(told))


@pytest.mark.parametrize(("sha", "size"), [("A" * 64, 1), ("a" * 63, 1), (SHA, -1), (SHA, True), (SHA, 1.5)])
def test_what_is_no_checksum_or_size_is_refused(sha, size):
    with pytest.raises(ConfigError, match="file 'a'"):
        ArtifactFile("a", sha, size)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": ()},
        {"files": (ArtifactFile("a", SHA, 1),) * 2},
        {"spec": None},
        {"unservable": "why"},
        {"key": "../x"},
    ],
)
def test_what_contradicts_itself_is_refused(manifest, changes):
    with pytest.raises(ConfigError):
        replace(manifest, **changes)


def test_the_digest_of_a_set_depends_on_names_and_contents_and_not_on_order():
    a, b = ArtifactFile("a", SHA, 1), ArtifactFile("b", "b" * 64, 1)
    assert set_digest([a, b]) == set_digest([b, a])
    others = [[a], [a, replace(b, name="c")], [a, replace(b, sha256="c" * 64)]]
    assert len({set_digest(files) for files in [[a, b], *others]}) == 4
