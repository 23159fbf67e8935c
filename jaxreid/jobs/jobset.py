"""Manifests for Kubernetes."""

import math
import posixpath
import re
from collections.abc import Sequence

from jaxreid.jobs.place import GRACE, SEES_GPU, Place, require_one, value
from jaxreid.training import mirror

RUNS = "/runs"  # where a JobSet finds its claim


def jobset(place: Place, arguments: Sequence[str]) -> str:
    """Manifests for ``kubectl apply``: as many pods as nodes, started anew when one is lost.

    Pods of GPUs find one another by asking the cluster, for which they get a service account of
    their own; those of TPUs are told by GKE.

    Raises:
        ValueError: where the work would be lost with the pods, or the topology is of other size.
    """
    _require_claimed(place, value(arguments, "workdir"))
    _require_topology(place)
    return ("" if place.type else _account(place.name)) + _jobset(place, arguments)


def _require_claimed(place: Place, directory: str) -> None:
    if mirror.remote(directory):
        if place.nodes > 1:
            require_one(f"nodes is {place.nodes}", directory)
    elif not posixpath.normpath(directory).startswith(f"{RUNS}/"):
        raise ValueError(
            f"--job=jobset: --workdir is {directory!r}, which is lost with the pod: it must be a "
            f"folder below {RUNS}, where the claim is, or for one node gs://BUCKET/FOLDER"
        )
    elif not place.claim:
        raise ValueError(f"--job=jobset also needs claim=..., for --workdir={directory}")


def _require_topology(place: Place) -> None:
    if not place.type:
        if place.topology:
            raise ValueError("--job: topology is for type=..., a TPU slice")
        return
    if not place.type.startswith("tpu"):
        raise ValueError(
            f"--job: type is {place.type!r}; GKE has tpu-v5-lite-podslice, for example"
        )
    if not re.fullmatch(r"\d{1,4}(x\d{1,4}){1,2}", place.topology, re.ASCII):
        raise ValueError(f"--job: topology is {place.topology!r}; it must be like 2x4 or 2x2x4")
    chips, taken = math.prod(map(int, place.topology.split("x"))), place.nodes * place.devices
    if chips != taken:
        raise ValueError(
            f"--job: topology {place.topology} has {chips} chips, but nodes={place.nodes} with "
            f"devices={place.devices} take {taken}"
        )


def _account(name: str) -> str:
    """What JAX asks of a cluster: its pod, by address, and the job that this belongs to."""
    return f"""\
apiVersion: v1
kind: ServiceAccount
metadata: {{name: {name}}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {{name: {name}}}
rules:
- {{apiGroups: [""], resources: [pods], verbs: [get, list]}}
- {{apiGroups: [batch], resources: [jobs], verbs: [get]}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {{name: {name}}}
subjects:
- {{kind: ServiceAccount, name: {name}}}
roleRef: {{apiGroup: rbac.authorization.k8s.io, kind: Role, name: {name}}}
---
"""


def _jobset(place: Place, arguments: Sequence[str]) -> str:
    # A cluster reads $(NAME) and $$ in a command, and $$ as the $ that was meant.
    given = [argument.replace("$", "$$") for argument in arguments]
    command = ["python", "launch.py", *given, "--distributed"]
    if not place.type:  # JAX without its GPU packages would go on upon CPUs
        command = ["sh", "-c", f'python -c "{SEES_GPU}" && exec "$@"', "sh", *command]
    limit = "google.com/tpu" if place.type else "nvidia.com/gpu"
    where = [
        "            nodeSelector:",
        f"              cloud.google.com/gke-tpu-accelerator: {place.type}",
        f'              cloud.google.com/gke-tpu-topology: "{place.topology}"',
    ]
    mount = ["              volumeMounts:", f"              - {{name: runs, mountPath: {RUNS}}}"]
    volume = [
        "            volumes:",
        "            - name: runs",
        f"              persistentVolumeClaim: {{claimName: {place.claim}}}",
    ]
    return "\n".join(
        [
            "apiVersion: jobset.x-k8s.io/v1alpha2",
            "kind: JobSet",
            "metadata:",
            f"  name: {place.name}",
            "spec:",
            "  failurePolicy:",
            "    maxRestarts: 100  # after what is no mistake: pods evicted, lost, or saved (143)",
            "    rules:",
            "    - name: mistake",
            "      action: FailJobSet",
            "      onJobFailureReasons: [PodFailurePolicy]",
            "  replicatedJobs:",
            "  - name: workers",
            "    replicas: 1",
            "    template:",
            "      spec:",
            f"        parallelism: {place.nodes}",
            f"        completions: {place.nodes}",
            "        backoffLimit: 0",
            "        podFailurePolicy:",
            "          rules:  # how launch.py and python end over a mistake, which a repetition",
            "          - action: FailJob  # would only repeat",
            "            onExitCodes: {containerName: jaxreid, operator: In, values: [1, 2]}",
            "        template:",
            "          spec:",
            "            restartPolicy: Never",
            *([] if place.type else [f"            serviceAccountName: {place.name}"]),
            f"            terminationGracePeriodSeconds: {GRACE}",
            *(where if place.type else []),
            "            containers:",
            "            - name: jaxreid",
            f"              image: {place.image}",
            "              workingDir: /jaxreid",
            "              command:",
            *(f"              - {_quoted(word)}" for word in command),
            '              env: [{name: PYTHONUNBUFFERED, value: "1"}]',
            "              resources:",
            "                limits:",
            f"                  {limit}: {place.devices}",
            *(mount + volume if place.claim else []),
            "",
        ]
    )


def _quoted(word: str) -> str:
    """A YAML string, whatever is in it."""
    return "'" + word.replace("'", "''") + "'"
