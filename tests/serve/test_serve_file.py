"""The check of a Serve file finds what Serve drops in silence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.serve.tools import ROOT

pytestmark = pytest.mark.serve


def findings(change: dict[str, Any]) -> Any:
    """Check the shipped file with `path.to.key: value` changes made to it."""
    from ascend_serve.serving.serve_file import check_serve_file

    told = yaml.safe_load((ROOT / "deployments/resnet.yaml").read_text())
    for path, value in change.items():
        *parents, last = path.split(".")
        place = told
        for parent in parents:
            place = place[int(parent)] if parent.isdigit() else place.setdefault(parent, {})
        place[last] = value
    return check_serve_file(told, ROOT)


APP = "applications.0"
DEPLOYMENT = f"{APP}.deployments.0"
CAPACITY = "ascend_serve.serving.autoscaling:capacity_policy"


def test_the_shipped_file_is_right() -> None:
    assert findings({}).errors == ()
    assert findings({}).notes == ()


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("http_option", {}, "http_option: unknown key; did you mean 'http_options'?"),
        ("http_options.prot", 1, "http_options.prot: unknown key; did you mean 'port'?"),
        ("http_options.ssl_ca_certs", "ca.pem", "http_options.ssl_ca_certs: Ray Serve asks no client"),
        ("http_options.ssl_keyfile", "a.key", "http_options.ssl_certfile: not given beside the key"),
        ("http_options.ssl_certfile", "a.pem", "Both ssl_keyfile and ssl_certfile must be provided together"),
        (f"{APP}.route_prefixes", "/", "did you mean 'route_prefix'?"),
        (f"{APP}.args.recipee", "x", "did you mean 'recipe'?"),
        (f"{APP}.args.batching.slot", 2, "did you mean 'slots'?"),
        (f"{APP}.args.batching.slots", 0, "args.batching.slots"),
        (f"{APP}.args.batching.policy", "pad_upp", "pad_up"),
        (f"{APP}.args.targets", ["Ascend910Z"], "Ascend910Z"),
        (f"{APP}.args.om", "a.om", "exactly one"),
        (f"{APP}.args.recipe", "nowhere.yaml", "nowhere.yaml"),
        (f"{DEPLOYMENT}.name", "Model", "'Model' is no deployment of this application"),
        (f"{DEPLOYMENT}.max_ongoing_request", 7, "did you mean 'max_ongoing_requests'?"),
        (f"{DEPLOYMENT}.ray_actor_options", {"num_npus": 1}, "num_npus: unknown key"),
        (f"{DEPLOYMENT}.ray_actor_options", {"num_cpus": 1}, "resources: {NPU: 1}"),
        (
            f"{DEPLOYMENT}.request_router_config",
            {"request_router_class": "nowhere:Router"},
            "cannot be imported here: No module named 'nowhere'",
        ),
        (f"{DEPLOYMENT}.autoscaling_config", {"max_replica": 3}, "did you mean 'max_replicas'?"),
        (
            f"{APP}.args.autoscaling",
            {"max_replica": 3},
            "max_replica: unknown key; did you mean 'max_replicas'?",
        ),
        (
            f"{APP}.args.autoscaling",
            {"slo_ms": 50},
            "slo_ms belongs to 'policy: capacity', which is not named",
        ),
        (
            f"{APP}.args.autoscaling",
            {"policy": "capcity"},
            "there is no policy 'capcity': write capacity, or",
        ),
        (
            f"{APP}.args.autoscaling",
            {"policy": {"policy_function": "nowhere:policy"}},
            "args.autoscaling.policy: its function cannot be imported: No module named 'nowhere'",
        ),
        (
            f"{APP}.args.autoscaling",
            {"policy": {"policy_function": CAPACITY}, "max_replicas": 3},
            "args.autoscaling: key 'slo_ms' is missing",
        ),
        (
            f"{DEPLOYMENT}.autoscaling_config",
            {"policy": {"policy_function": CAPACITY}, "max_replicas": 3},
            "autoscaling_config.policy: replicas tell it nothing here, and it would keep as many as there are: write",
        ),
        (f"{APP}.args.labels", {"logits": "nowhere.txt"}, "args.labels.logits: no file "),
        (f"{APP}.import_path", "ascend_serve.serving.app:bild", "write ascend_serve.serving.app:build"),
        (
            "grpc_options.grpc_servicer_functions",
            ["ascend_serve.serving.grpc.add_GRPCInferenceServiceServicer_to_server"],
            "grpc_servicer_functions[0]: 'ascend_serve.serving.grpc.add_GRPCInferenceServiceServicer_to_server' is not",
        ),
        (
            f"{APP}.args.autoscaling",
            {"min_replicas": 5, "max_replicas": 2},
            "max_replicas (2) must be greater",
        ),
        (
            f"{APP}.args.batching",
            {"policy": "fixed", "gear": 5},
            "gear 5 is not compiled; compiled: [1, 4, 8, 16]",
        ),
        (f"{APP}.deployments", 5, "deployments"),
        (f"{DEPLOYMENT}.ray_actor_options", {"resources": "NPU"}, "ray_actor_options.resources"),
    ],
)
def test_a_wrong_key_or_value_is_an_error(path: str, value: Any, said: str) -> None:
    assert any(said in error for error in findings({path: value}).errors), findings({path: value}).errors


@pytest.mark.parametrize("options", [{"autoscaling_config": {"max_replicas": 3}}, {"num_replicas": "auto"}])
def test_autoscaling_without_a_target_is_worth_a_note(options: dict[str, Any]) -> None:
    scaled = {"name": "AscendModel", **options}
    found = findings({f"{APP}.deployments": [scaled]})
    assert found.errors == ()
    assert "target_ongoing_requests" in found.notes[0]


def test_the_name_of_the_policy_capacity_is_as_good_as_its_word() -> None:
    from ascend_serve.serving.serve_file import autoscaling_config

    policy = {"policy_function": CAPACITY}
    options = {"policy": policy, "slo_ms": 50, "max_replicas": 3}
    assert findings({f"{APP}.args.autoscaling": options}).errors == ()
    right = autoscaling_config({**options, "policy": "capacity"}, 1, 0.5)
    assert autoscaling_config(options, 1, 0.5) == right


@pytest.mark.parametrize(
    ("deadline_ms", "options", "noted"),
    [
        (19_000, {}, False),
        (30_000, {}, True),
        (30_000, {"graceful_shutdown_timeout_s": 40}, False),
        (3_000, {"graceful_shutdown_timeout_s": 2}, True),
    ],
)
def test_a_deadline_past_the_time_that_a_replica_has_to_finish_is_worth_a_note(
    deadline_ms: float, options: dict[str, Any], noted: bool
) -> None:
    batching = {"default_deadline_ms": deadline_ms}
    found = findings(
        {f"{APP}.args.batching": batching, f"{APP}.deployments": [{"name": "AscendModel", **options}]}
    )
    assert found.errors == ()
    assert any("graceful_shutdown_timeout_s" in note for note in found.notes) is noted


def test_replicas_that_are_told_twice_are_told_of() -> None:
    scaled = {f"{APP}.args.autoscaling": {"max_replicas": 3}}
    found = findings(scaled)
    assert found.errors == ()
    assert any("num_replicas: counts for nothing" in note for note in found.notes)
    twice = [{"name": "AscendModel", "autoscaling_config": {"max_replicas": 3}}]
    (error,) = findings({**scaled, f"{APP}.deployments": twice}).errors
    assert "takes the place of args.autoscaling" in error


def test_tls_is_noted_and_behind_haproxy_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    change = {"http_options.ssl_keyfile": "/nowhere/a.key", "http_options.ssl_certfile": "/nowhere/a.pem"}
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    found = findings(change)
    assert found.errors == ()
    assert "spoken by Serve's Python proxy" in found.notes[0]
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    (error,) = findings(change).errors
    assert error.startswith(
        "http_options.ssl_certfile: HAProxy, which RAY_SERVE_ENABLE_HA_PROXY=1 puts in front"
    )


def test_a_token_file_may_be_on_the_nodes_alone() -> None:
    found = findings({f"{APP}.args.tokens": {"file": "/nowhere/tokens"}})
    assert found.errors == ()
    assert found.notes == (
        "applications[0].args.tokens.file: no file /nowhere/tokens here; replicas read it on their own nodes",
    )


def test_the_servicer_that_a_file_has_to_name_is_there() -> None:
    from ascend_serve.serving.doors import grpc
    from ascend_serve.serving.serve_file import GRPC_SERVICER

    module, _, name = GRPC_SERVICER.rpartition(".")
    assert module == grpc.__name__
    assert callable(getattr(grpc, name))


def test_a_dotted_import_path_is_checked_too() -> None:
    found = findings({f"{APP}.import_path": "ascend_serve.serving.app.build", f"{APP}.args.recipee": "x"})
    assert any("did you mean 'recipe'?" in error for error in found.errors)


def test_a_file_in_a_working_dir_is_not_missing() -> None:
    elsewhere = {"working_dir": "https://example.com/app.zip"}
    found = findings({f"{APP}.runtime_env": elsewhere, f"{APP}.args.recipe": "r.yaml"})
    assert found.errors == ()
    assert "working_dir" in found.notes[0]


def test_a_recipe_is_read(tmp_path: Path) -> None:
    recipe = tmp_path / "bad.yaml"
    recipe.write_text("name: x\nsource: s\ngaers: [1]\n")
    found = findings({f"{APP}.args.recipe": str(recipe)})
    assert any("did you mean 'gears'?" in error for error in found.errors)


def test_a_source_that_is_not_here_is_worth_a_note(tmp_path: Path) -> None:
    recipe = tmp_path / "x.yaml"
    recipe.write_text("name: x\nsource: gone.onnx\ninputs: {x: [-1, 3]}\ngears: [1, 4, 8, 16]\n")
    found = findings({f"{APP}.args": {"recipe": str(recipe)}})
    assert found.errors == ()
    assert found.notes == (
        f"applications[0].args: no source {tmp_path}/gone.onnx, which x.yaml names and its build needs",
    )


def test_buckets_of_a_recipe_are_told(tmp_path: Path) -> None:
    recipe = tmp_path / "words.yaml"
    (tmp_path / "words.onnx").touch()
    recipe.write_text(
        "name: words\nsource: words.onnx\ninput_format: ND\ninputs: {ids: [-1, -1]}\n"
        "dims_gears: [[1, 16], [4, 16], [1, 64]]\n"
    )
    found = findings({f"{APP}.args.recipe": str(recipe)})
    assert found.errors == ()
    assert found.notes == (
        "applications[0].args: requests run in 2 buckets: ids [16] at gears [1, 4]; ids [64] at gears [1]",
    )


def test_an_axis_0_that_counts_no_rows_makes_a_bucket_of_each_size(tmp_path: Path) -> None:
    recipe = tmp_path / "steps.yaml"
    (tmp_path / "m.onnx").touch()
    recipe.write_text(
        "name: m\nsource: m.onnx\ninputs: {x: [-1, 8]}\ndims_gears: [[4], [9]]\nbatched: false\n"
    )
    found = findings({f"{APP}.args.recipe": str(recipe)})
    assert found.notes == (
        "applications[0].args: requests run in 2 buckets: x [4, 8] at gears [1]; x [9, 8] at gears [1]",
    )


def test_a_ready_made_model_is_read(tmp_path: Path) -> None:
    from ascend_serve.serving.serve_file import Findings
    from tests.unit.om_writer import static_model

    om = tmp_path / "net.om"
    om.write_bytes(static_model([("x", 0, (4, 3))], [("y", 0, (4, 3))]))
    args = {"om": str(om), "batching": {"padded": [{"inputs": {"x": 1}, "outputs": {"y": 1}}]}}
    assert findings({f"{APP}.args": args}) == Findings((), ())
    labels = tmp_path / "labels.txt"
    labels.touch()
    named = {"om": str(om), "labels": {"z": str(labels)}}
    assert any("has no output 'z'" in error for error in findings({f"{APP}.args": named}).errors)
    args["batching"] = {"padded": [{"inputs": {"z": 1}}]}
    assert any("has no input 'z'" in error for error in findings({f"{APP}.args": args}).errors)
    om.write_bytes(static_model([("x", 0, (-1, 3))], [("y", 0, (-1, 3))]))
    assert any("open shapes" in error for error in findings({f"{APP}.args": args}).errors)
    om.write_bytes(b"no model")
    assert any("net.om: " in error for error in findings({f"{APP}.args": args}).errors)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the Serve file .*: No such file or directory: give the path of a YAML file"),
        (b"\xff\xfe", "it is not UTF-8 text: give the path of a YAML file"),
        (b"a: b\nc: [", "not YAML: line 2: expected the node content, but found '<stream end>'$"),
        (b"- 1", "a Serve file is a mapping with the key 'applications', not a list$"),
    ],
)
def test_what_is_no_serve_file_is_told_in_a_line(tmp_path: Path, content: bytes | None, said: str) -> None:
    from ascend_serve.errors import ConfigError
    from ascend_serve.serving.serve_file import read_serve_file

    file = tmp_path / "serve.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        read_serve_file(file)


def test_a_missing_key_is_named_by_its_path() -> None:
    from ascend_serve.serving.serve_file import check_serve_file

    assert check_serve_file({}, ROOT).errors == ("applications: this key is missing",)


TWO = {
    "models": [{"recipe": "compile_jobs/recipes/resnet.yaml"}, {"recipe": "compile_jobs/recipes/simple.yaml"}]
}


@pytest.mark.parametrize("name", ["autoscaled", "mixed", "simple", "two_models"])
def test_the_other_shipped_files_are_right(name: str) -> None:
    from ascend_serve.serving.serve_file import Findings, check_serve_file

    told = yaml.safe_load((ROOT / f"deployments/{name}.yaml").read_text())
    assert check_serve_file(told, ROOT) == Findings((), ())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": [{"recipe": "a.yaml"}, {"recipe": "b.yaml"}]}, "applications[0].args.models.1: no file"),
        (
            {"models": [*TWO["models"], {"recipe": "compile_jobs/recipes/simple.yaml"}]},
            "applications[0].args: two of 'models' are 'simple' in version 1",
        ),
        (
            {"models": [{**TWO["models"][0], "batching": {"policy": "fixed", "gear": 5}}]},
            "applications[0].args.models.0: policy 'fixed': gear 5 is not compiled; compiled: [1, 4, 8, 16]",
        ),
    ],
)
def test_what_is_wrong_with_one_of_several_models_is_an_error(changes: dict[str, Any], said: str) -> None:
    errors = findings({f"{APP}.args": changes}).errors
    assert any(error.startswith(said) for error in errors), errors


@pytest.mark.parametrize(
    ("args", "user_config", "said"),
    [
        ({}, {"batching": {"slots": 2}}, "user_config.batching: slots cannot change while a replica serves"),
        ({}, {"batching": {"policy": "fixed", "gear": 5}}, "user_config: policy 'fixed': gear 5 is not compiled"),
        (
            {},
            {"batching": {"policy": "fixed_wait", "max_batch_size": 17}},
            "user_config: policy 'fixed_wait': max_batch_size is 17, but the largest gear is 16",
        ),
        (TWO, {"models": {"sample": {}}}, "user_config.models.sample: no such model; did you mean 'simple'?"),
        (
            TWO,
            {"models": {"simple": {"batching": {"policy": "fixed", "gear": 5}}}},
            "user_config.models.simple: policy 'fixed': gear 5 is not compiled; compiled: [1, 8, 32]",
        ),
    ],
)  # fmt: skip
def test_a_wrong_user_config_is_an_error(args: dict[str, Any], user_config: Any, said: str) -> None:
    changes = {f"{APP}.args": args} if args else {}
    errors = findings({**changes, f"{DEPLOYMENT}.user_config": user_config}).errors
    assert [error for error in errors if f"applications[0].deployments[0].{said}" in error], errors


def test_a_right_user_config_is_none() -> None:
    assert findings({f"{DEPLOYMENT}.user_config": {"batching": {"policy": "fixed", "gear": 4}}}).errors == ()


def test_a_part_of_an_npu_is_asked_for_in_both_places() -> None:
    def errors(npus: float) -> Any:
        actor = {"num_cpus": 0.1, "resources": {"NPU": npus}}
        return findings({f"{APP}.args.replica_npus": 0.5, f"{DEPLOYMENT}.ray_actor_options": actor}).errors

    assert errors(0.5) == ()
    assert "resources: {NPU: 0.5} again; as args.replica_npus says" in errors(1)[0]
