"""Ray and Serve, where they run."""

from __future__ import annotations

from collections.abc import Iterator

from ascend_serve.examining.facts import Facts, Node
from ascend_serve.examining.finding import Finding, error, note, ok, warning

_KEEPS = "RAY_EXPERIMENTAL_NOSET_ASCEND_RT_VISIBLE_DEVICES"
_RESTART = "restart Ray on it in a shell where `import acl` works: `ray stop; ray start …`"


def check_environment(facts: Facts) -> Iterator[Finding]:
    """Ray may hide devices from the replicas that did not ask for them."""
    if facts.environment.ray_keeps_visible_devices:
        yield error(
            "Ray",
            f"{_KEEPS} is set",
            "Ray gives each replica its own card through ASCEND_RT_VISIBLE_DEVICES; with this they all take card 0",
            f"unset {_KEEPS}, then restart Ray",
        )


def check_cluster(facts: Facts) -> Iterator[Finding]:
    """Ray knows the cards, and by which SoC."""
    cluster = facts.cluster
    if cluster is None:
        yield note(
            "Ray", "no Ray answers here", "`ascend-serve run FILE` starts one; RAY_ADDRESS names another"
        )
        return
    if cluster.trouble:
        yield warning(
            "Ray",
            cluster.trouble,
            "a Ray that runs answers",
            "see `ray status`; RAY_ADDRESS names the cluster",
        )
        return
    with_npus = [node for node in cluster.nodes if node.npus]
    for node in cluster.nodes:
        yield from _node(node, facts)
    if not with_npus:
        yield error(
            "Ray",
            f"{len(cluster.nodes)} nodes, none with the resource NPU",
            "a replica asks for resources: {NPU: 1}",
            f"{_RESTART}; or `ray start --resources='{{\"NPU\": 1}}'` where it cannot be detected",
        )


def _node(node: Node, facts: Facts) -> Iterator[Finding]:
    name = f"node {node.address}"
    acl = facts.pyacl
    if node.npus and not node.soc_label:
        yield warning(
            "Ray",
            f"{name}: NPU {node.npus:g}, and no label ray.io/accelerator-type",
            "the builder and the router know a node's SoC by it",
            "ray start --labels ray.io/accelerator-type=<what acl.get_soc_name() answers there>",
        )
    elif node.npus:
        yield ok("Ray", f"{name}: NPU {node.npus:g}, {node.soc_label}")
    # What this shell hides from itself Ray may well have seen.
    if not node.here or acl.ordinals is None or facts.environment.ascend_rt_visible_devices is not None:
        return
    if node.npus != acl.ordinals:
        yield warning(
            "Ray",
            f"{name}, this machine: NPU {node.npus:g}, and acl.rt.get_device_count() says {acl.ordinals}",
            "Ray counts the devices once, when the node starts",
            _RESTART,
        )
    if node.npus and node.soc_label and acl.soc_name and node.soc_label != acl.soc_name:
        yield error(
            "Ray",
            f"{name}, this machine: label {node.soc_label}, and acl.get_soc_name() says {acl.soc_name}",
            "a replica takes the model for the label's SoC",
            _RESTART,
        )


def check_fast_path(facts: Facts) -> Iterator[Finding]:
    """Requests come through HAProxy, not through Serve's Python proxy."""
    live = None if facts.cluster is None else facts.cluster.fast_path
    on = facts.environment.on_fast_path if live is None else live
    where = "in this shell's environment" if live is None else "of the Serve that runs"
    if facts.cluster is not None and facts.cluster.tls:
        if live:
            yield error(
                "fast path",
                f"on, {where}, which was given a certificate",
                "HAProxy listens without TLS and finds no replica alive, since those speak it",
                "restart Ray without RAY_SERVE_ENABLE_HA_PROXY; or take http_options.ssl_* out of the Serve file and "
                "have a balancer in front speak TLS (docs/tls.md)",
            )
        else:
            yield ok("fast path", f"off, {where}, whose Python proxy speaks TLS")
    elif on:
        yield ok("fast path", f"on, {where}")
    elif live is None:
        yield note("fast path", f"off, {where}", "`ascend-serve run FILE` switches it on by itself")
    else:
        yield warning(
            "fast path",
            f"off, {where}",
            "Serve's Python proxy takes several times the CPU per request and gives way under load",
            "`ascend-serve run FILE`; or RAY_SERVE_ENABLE_HA_PROXY=1 and RAY_SERVE_THROUGHPUT_OPTIMIZED=1 before "
            "`ray start`",
        )
