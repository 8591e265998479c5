"""The Kubernetes manifests against the schemas of Kubernetes."""

import kubernetes_validate
import pytest

from tests.support.deploy_files import manifests

ALL = manifests()


@pytest.mark.parametrize("version", ["1.30", "1.34"])
@pytest.mark.parametrize("kind", ALL)
def test_a_manifest_has_the_fields_of_its_kind_and_no_others(kind: str, version: str) -> None:
    kubernetes_validate.validate(ALL[kind], version, strict=True)
