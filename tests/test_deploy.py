"""What ``deploy/`` promises: a cluster file that fits Ray's own schema, and a RayJob that fits KubeRay's.

KubeRay's schema (RayJob and RayCluster of ``ray.io/v1``) is a megabyte of generated text that does not lie here, so the
fields that our file uses are models of our own, after KubeRay's types: a field that they do not have is an error.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "deploy"

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]+)?([KMGTPE]i?|m)?$")]
Whole = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a Kubernetes object: unknown fields are errors, and nothing is turned into another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Metadata(Part):
    name: Name
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Resources(Part):
    requests: dict[str, Quantity] = {}
    limits: dict[str, Quantity] = {}


class Port(Part):
    containerPort: Annotated[int, Field(gt=0, lt=65536)]
    name: Annotated[str, StringConstraints(max_length=15)]


class Mount(Part):
    name: Name
    mountPath: Annotated[str, StringConstraints(pattern="^/")]


class Container(Part):
    name: Name
    image: str
    resources: Resources
    ports: list[Port] = []
    volumeMounts: list[Mount] = []


class Claim(Part):
    claimName: Name


class Volume(Part):
    name: Name
    persistentVolumeClaim: Claim


class Security(Part):
    fsGroup: Whole | None = None


class Pod(Part):
    securityContext: Security = Security()
    containers: Annotated[list[Container], Field(min_length=1)]
    volumes: list[Volume] = []


class Template(Part):
    spec: Pod


class Head(Part):
    rayStartParams: dict[str, str]
    template: Template


class Workers(Part):
    groupName: str
    replicas: Whole
    minReplicas: Whole
    maxReplicas: Whole
    rayStartParams: dict[str, str]
    template: Template


class Cluster(Part):
    rayVersion: str
    enableInTreeAutoscaling: bool = False
    headGroupSpec: Head
    workerGroupSpecs: list[Workers]


class JobSpec(Part):
    entrypoint: Annotated[str, StringConstraints(min_length=1)]
    backoffLimit: Whole = 0
    shutdownAfterJobFinishes: bool = False
    ttlSecondsAfterFinished: Whole = 0
    submissionMode: Literal["K8sJobMode", "HTTPMode", "InteractiveMode"] = "K8sJobMode"
    rayClusterSpec: Cluster


class RayJob(Part):
    apiVersion: Literal["ray.io/v1"]
    kind: Literal["RayJob"]
    metadata: Metadata
    spec: JobSpec


def _cluster() -> dict[str, Any]:
    found = yaml.safe_load((DEPLOY / "cluster.yaml").read_text())
    assert isinstance(found, dict)
    return found


def _kubernetes() -> dict[str, dict[str, Any]]:
    documents = yaml.safe_load_all((DEPLOY / "rayjob.yaml").read_text())
    return {document["kind"]: document for document in documents}


def _check_cluster(config: dict[str, Any]) -> None:
    """Looks with the schema that comes with Ray."""
    import importlib.util

    import jsonschema

    spec = importlib.util.find_spec("ray")
    assert spec is not None
    assert spec.origin is not None
    schema = Path(spec.origin).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(config, json.loads(schema.read_text()))


def test_the_cluster_file_fits_rays_schema() -> None:
    pytest.importorskip("ray")
    config = _cluster()
    _check_cluster(config)
    assert config["head_node_type"] in config["available_node_types"]
    wanted = sum(kind.get("min_workers", 0) for kind in config["available_node_types"].values())
    assert wanted <= config["max_workers"]


def test_a_wrong_cluster_file_does_not_fit() -> None:
    pytest.importorskip("ray")
    import jsonschema

    for wrong in ({"max_wokers": 1}, {"max_workers": -1}, {"available_node_types": {"gpu": {"resources": {}}}}):
        with pytest.raises(jsonschema.ValidationError):
            _check_cluster(_cluster() | wrong)


def test_the_rayjob_fits_kuberays_fields_and_its_volumes_are_there() -> None:
    found = _kubernetes()
    job = RayJob.model_validate(found["RayJob"])
    claim = found["PersistentVolumeClaim"]
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    cluster = job.spec.rayClusterSpec
    for pod in (cluster.headGroupSpec.template.spec, *(group.template.spec for group in cluster.workerGroupSpecs)):
        volumes = {volume.name: volume.persistentVolumeClaim.claimName for volume in pod.volumes}
        assert f"--uid {pod.securityContext.fsGroup} " in (ROOT / "Dockerfile").read_text()  # who writes to them
        assert set(volumes.values()) == {claim["metadata"]["name"]}
        assert {mount.name for container in pod.containers for mount in container.volumeMounts} == set(volumes)
    for group in cluster.workerGroupSpecs:
        assert group.minReplicas <= group.replicas <= group.maxReplicas


def test_a_wrong_rayjob_does_not_fit() -> None:
    job = _kubernetes()["RayJob"]
    for wrong in ({"entrypiont": "autodelta"}, {"backoffLimit": "1"}, {"rayClusterSpec": {}}):
        with pytest.raises(ValidationError):
            RayJob.model_validate(job | {"spec": job["spec"] | wrong})


def test_the_rayjob_runs_the_pinned_ray_and_options_that_there_are() -> None:
    from typer.main import get_command

    from autodelta.cli import app

    spec = _kubernetes()["RayJob"]["spec"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert spec["rayClusterSpec"]["rayVersion"] == pins["ray"]
    options = {o for parameter in get_command(app).commands["search"].params for o in parameter.opts}  # type: ignore[attr-defined]
    asked = set(re.findall(r"--[a-z-]+", spec["entrypoint"]))
    assert "--address" in asked
    assert asked <= options


def test_the_containers_run_the_image_of_the_dockerfile() -> None:
    """The image's entry point is the command line, which `ray up` must take away; its runs' folder is mounted."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    options = _cluster()["docker"]["run_options"]
    assert 'ENTRYPOINT ["autodelta"]' in dockerfile
    assert "--entrypoint=" in options
    mounted = next(option.rpartition(":")[2] for option in options if option.startswith("--volume="))
    assert f"VOLUME {mounted}" in dockerfile


def test_the_image_has_what_the_two_ways_to_a_cluster_call_in_it() -> None:
    """`ray up` runs rsync in every container, and ssh and boto3 in the head's; KubeRay's probes run wget."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    packages = re.search(r"apt-get install (.*)", dockerfile)
    assert packages is not None
    assert {"openssh-client", "rsync", "wget"} <= set(packages[1].split())
    assert "boto3" in dockerfile


def test_the_image_user_may_write_to_a_mounted_folder_of_the_first_user_of_a_machine() -> None:
    """Ubuntu's image has a user of its own who would take the number 1000."""
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "userdel --remove ubuntu" in dockerfile
    assert "useradd --create-home --uid 1000 autodelta" in dockerfile
