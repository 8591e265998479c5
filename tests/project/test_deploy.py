"""The image and the manifests agree with the server: its files, settings, paths and times."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from starlette.routing import Route

from fmalloc_runtime.access.gatekeeper import Gatekeeper
from fmalloc_runtime.api.app import create_app
from fmalloc_runtime.batching.service import Service
from fmalloc_runtime.metrics import Metrics
from fmalloc_runtime.settings import PREFIX, Loaded, Settings
from fmalloc_shared import __version__
from fmalloc_shared.commands import verbs
from tests.support.deploy_files import KUBERNETES, ROOT, Instruction, dockerfile_stages, manifests, read_yaml

BUILD, FINAL = dockerfile_stages()
ALL = manifests()
POD = ALL["Deployment"]["spec"]["template"]
(CONTAINER,) = POD["spec"]["containers"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def of(stage: list[Instruction], name: str) -> list[Instruction]:
    """The instructions of this name."""
    return [instruction for instruction in stage if instruction.name == name]


def image_settings() -> dict[str, str]:
    """The server's environment in the image."""
    (environment,) = of(FINAL, "ENV")
    return {name: value for name, value in environment.variables.items() if name.startswith(PREFIX)}


def pod_settings() -> dict[str, str]:
    """The server's environment in a pod: the image's, and over it the ConfigMap's."""
    (generator,) = read_yaml(KUBERNETES / "kustomization.yaml")["configMapGenerator"]
    assert CONTAINER["envFrom"] == [{"configMapRef": {"name": generator["name"]}}]
    return image_settings() | dict(item.split("=", 1) for item in generator["literals"])


def loaded(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The server's settings in this environment; fails if it does not know one."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return Loaded.of({"bundles": "/bundles"}).settings


def test_the_image_is_built_from_all_that_the_wheel_needs() -> None:
    copied = {word for copy in of(BUILD, "COPY") for word in copy.words[:-1]}
    needed = {"pyproject.toml", PROJECT["project"]["readme"], *PROJECT["project"]["license-files"]}
    for folder in PROJECT["tool"]["setuptools"]["packages"]["find"]["where"]:
        found = [path.parent for path in (ROOT / folder).glob("fmalloc*/__init__.py")]
        assert found
        needed |= {path.relative_to(ROOT).parts[0] for path in found}
    assert copied == needed


def test_what_is_copied_reaches_the_builder() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    for name in (word for copy in of(BUILD, "COPY") for word in copy.words[:-1]):
        assert (ROOT / name).exists()
        ignored = False
        for pattern in patterns:
            if fnmatch(name, pattern.removeprefix("!")):
                ignored = not pattern.startswith("!")
        assert not ignored, name


def test_the_image_has_the_base_installation() -> None:
    (extras,) = [item for item in of(BUILD, "ARG") if item.rest.startswith("EXTRAS")]
    assert extras.rest == "EXTRAS="
    base = " ".join(PROJECT["project"]["dependencies"])
    assert "torch" not in base
    assert "transformers" not in base


def test_the_image_starts_the_server_itself_as_somebody_without_rights() -> None:
    (entrypoint,), (command,), (user,) = (of(FINAL, name) for name in ("ENTRYPOINT", "CMD", "USER"))
    assert entrypoint.rest.startswith("[")
    assert command.rest.startswith("[")
    program, verb = entrypoint.words
    assert program in PROJECT["project"]["scripts"] and verb in verbs.main.verbs
    assert command.words == CONTAINER["args"] == [CONTAINER["volumeMounts"][0]["mountPath"]]
    assert [int(part) > 0 for part in user.rest.split(":")] == [True, True]
    assert not of(FINAL, "RUN")


def test_the_image_listens_where_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(image_settings(), monkeypatch)
    (port,), (health,) = of(FINAL, "EXPOSE"), of(FINAL, "HEALTHCHECK")
    assert settings.host == "0.0.0.0"
    assert settings.port == int(port.rest) == CONTAINER["ports"][0]["containerPort"]
    assert "/livez" in health.rest
    assert "FMALLOC_PORT" in health.rest


def test_pods_have_settings_that_the_server_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = loaded(pod_settings(), monkeypatch)
    hook = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["spec"]["terminationGracePeriodSeconds"] > settings.drain_seconds + hook
    limit = CONTAINER["resources"]["limits"]["memory"]
    assert settings.memory is not None
    assert limit.endswith("Gi")
    assert settings.memory < int(limit.removesuffix("Gi")) * 2**30
    assert POD["spec"]["enableServiceLinks"] is False


def test_probes_ask_for_what_the_server_answers(bundles: Path) -> None:
    settings = Settings(bundles=bundles, workers=1)
    service = Service.of(settings)
    gate = Gatekeeper(settings, Metrics())
    app = create_app(service, settings, gate)
    gate.close()
    service.close()
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    probes = {name: CONTAINER[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {probe["path"] for probe in probes.values()} == {"/livez", "/readyz"}
    assert probes["liveness"]["path"] == "/livez"
    assert probes["readiness"]["path"] == "/readyz"
    annotations = POD["metadata"]["annotations"]
    assert {"/livez", "/readyz", annotations["prometheus.io/path"]} <= paths
    names = {port["name"] for port in CONTAINER["ports"]}
    assert {probe["port"] for probe in probes.values()} == names
    assert ALL["Service"]["spec"]["ports"][0]["targetPort"] in names
    assert int(annotations["prometheus.io/port"]) == CONTAINER["ports"][0]["containerPort"]


def test_everything_is_about_the_same_pods() -> None:
    labels = POD["metadata"]["labels"]
    assert ALL["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert ALL["Service"]["spec"]["selector"] == labels
    assert ALL["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    target = ALL["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert target["name"] == ALL["Deployment"]["metadata"]["name"]
    assert "replicas" not in ALL["Deployment"]["spec"]
    (image,) = read_yaml(KUBERNETES / "kustomization.yaml")["images"]
    assert image["name"] == CONTAINER["image"]
    assert image["newTag"] == __version__


def test_pods_run_with_the_least_rights() -> None:
    (user,) = of(FINAL, "USER")
    context = POD["spec"]["securityContext"]
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == user.rest
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert CONTAINER["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    written = {mount["mountPath"] for mount in CONTAINER["volumeMounts"] if not mount.get("readOnly")}
    assert written == {"/tmp"}, "where packed models are restored"
    volumes = {volume["name"] for volume in POD["spec"]["volumes"]}
    assert {mount["name"] for mount in CONTAINER["volumeMounts"]} == volumes


def test_ray_serves_settings_that_the_server_knows() -> None:
    config = read_yaml(ROOT / "deploy" / "ray" / "serve.yaml")
    (application,) = config["applications"]
    assert application["args"].keys() <= Settings.model_fields.keys()
    module, _, name = application["import_path"].partition(":")
    source = (ROOT / "runtime" / f"{module.replace('.', '/')}.py").read_text(encoding="utf-8")
    assert f"def {name}(" in source
    (deployment,) = application["deployments"]
    assert f"class {deployment['name']}:" in source
