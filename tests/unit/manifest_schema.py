"""A schema of the fields that the manifests in `kubernetes/` use, by kind; a field that is not here is an error.

Written from KubeRay's API reference (docs/reference/api.md, ray.io/v1: RayServiceSpec, RayClusterSpec, HeadGroupSpec,
WorkerGroupSpec, AutoscalerOptions, AuthOptions) and from that of Kubernetes 1.28 (batch/v1, core/v1,
networking.k8s.io/v1). A manifest that uses another of their fields needs it here first.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
WHOLE: Schema = {"type": "integer", "minimum": 0}
TRUTH: Schema = {"type": "boolean"}
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
NAME: Schema = {"type": "string", "pattern": r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", "maxLength": 63}
PATH: Schema = {"type": "string", "pattern": "^/"}
QUANTITY: Schema = {"type": "string", "pattern": r"^\d+(\.\d+)?(m|[kMGTPE]|[KMGTPE]i)?$"}
"""An amount of a resource. A bare number would do for Kubernetes, but not for Ray's own `resources`."""


def closed(*required: str, **fields: Schema) -> Schema:
    """An object of these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": list(required),
        "additionalProperties": False,
    }


def words(value: Schema = TEXT, *, key: str = r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$") -> Schema:
    """An object whose keys are the author's."""
    return {"type": "object", "propertyNames": {"pattern": key}, "additionalProperties": value}


def listed(item: Schema) -> Schema:
    """A list of at least one."""
    return {"type": "array", "items": item, "minItems": 1}


def one_of(*values: str) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def one_field(*names: str) -> Schema:
    """That an object has just one of these."""
    return {"oneOf": [{"required": [name]} for name in names]}


def whole(kind: str, version: str, spec: Schema) -> Schema:
    """An object as `kubectl apply` takes it."""
    about = closed("name", name=NAME, labels=words(), annotations=words(key=r"^[a-z0-9.-]+/[a-z-]+$"))
    return closed(
        "apiVersion",
        "kind",
        "metadata",
        "spec",
        apiVersion={"const": version},
        kind={"const": kind},
        metadata=about,
        spec=spec,
    )


# --- pods -----------------------------------------------------------------------------------------

_VARIABLE = closed(
    "name",
    name={"type": "string", "pattern": r"^[A-Za-z_][A-Za-z0-9_]*$"},
    value={"type": "string"},
    valueFrom=closed("secretKeyRef", secretKeyRef=closed("name", "key", name=NAME, key=TEXT)),
) | one_field("value", "valueFrom")

_CONTAINER = closed(
    "name",
    "image",
    name=NAME,
    image=TEXT,
    command=listed(TEXT),
    ports=listed(closed("containerPort", name=NAME | {"maxLength": 15}, containerPort=PORT)),
    env=listed(_VARIABLE),
    resources=closed("requests", "limits", requests=words(QUANTITY), limits=words(QUANTITY)),
    volumeMounts=listed(closed("name", "mountPath", name=NAME, mountPath=PATH, readOnly=TRUTH)),
)

_VOLUME = closed(
    "name",
    name=NAME,
    persistentVolumeClaim=closed("claimName", claimName=NAME),
    hostPath=closed("path", path=PATH, type=one_of("", "Directory", "File")),
) | one_field("persistentVolumeClaim", "hostPath")


def _pod(*required: str, **more: Schema) -> Schema:
    spec = closed("containers", *required, containers=listed(_CONTAINER), volumes=listed(_VOLUME), **more)
    return closed("spec", metadata=closed(labels=words()), spec=spec)


# --- KubeRay --------------------------------------------------------------------------------------

_GROUP = {
    "resources": words(QUANTITY),
    "labels": words(),
    "rayStartParams": words(key=r"^[a-z]+(-[a-z]+)*$"),
    "template": _pod(),
}

_CLUSTER = closed(
    "headGroupSpec",
    "workerGroupSpecs",
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=closed("mode", mode=one_of("disabled", "token")),
    enableInTreeAutoscaling=TRUTH,
    autoscalerOptions=closed(version=one_of("v1", "v2"), idleTimeoutSeconds=WHOLE),
    headGroupSpec=closed("template", **_GROUP),
    workerGroupSpecs=listed(
        closed(
            "groupName",
            "template",
            "minReplicas",
            "maxReplicas",
            groupName=NAME,
            replicas=WHOLE,
            minReplicas=WHOLE,
            maxReplicas=WHOLE,
            **_GROUP,
        )
    ),
)

RAY_SERVICE = whole(
    "RayService",
    "ray.io/v1",
    closed(
        "serveConfigV2",
        "rayClusterConfig",
        upgradeStrategy=closed("type", type=one_of("NewCluster", "NewClusterWithIncrementalUpgrade", "None")),
        serveConfigV2=TEXT,
        rayClusterConfig=_CLUSTER,
    ),
)

# --- Kubernetes -----------------------------------------------------------------------------------

_BACKEND = closed(
    "service",
    service=closed(
        "name", "port", name=NAME, port=closed(name=NAME, number=PORT) | one_field("name", "number")
    ),
)

_RULE = closed(
    "host",
    "http",
    host=TEXT,
    http=closed(
        "paths",
        paths=listed(
            closed(
                "path",
                "pathType",
                "backend",
                path=PATH,
                pathType=one_of("Exact", "Prefix", "ImplementationSpecific"),
                backend=_BACKEND,
            )
        ),
    ),
)

SCHEMAS: dict[str, Schema] = {
    "RayService": RAY_SERVICE,
    "Job": whole(
        "Job",
        "batch/v1",
        closed(
            "template",
            backoffLimit=WHOLE,
            template=_pod("restartPolicy", restartPolicy=one_of("Never", "OnFailure")),
        ),
    ),
    "PersistentVolumeClaim": whole(
        "PersistentVolumeClaim",
        "v1",
        closed(
            "accessModes",
            "resources",
            accessModes=listed(one_of("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")),
            storageClassName=NAME,
            resources=closed("requests", requests=closed("storage", storage=QUANTITY)),
        ),
    ),
    "Ingress": whole(
        "Ingress",
        "networking.k8s.io/v1",
        closed(
            "rules",
            ingressClassName=NAME,
            tls=listed(closed("hosts", "secretName", hosts=listed(TEXT), secretName=NAME)),
            rules=listed(_RULE),
        ),
    ),
}
"""A schema for each kind."""
