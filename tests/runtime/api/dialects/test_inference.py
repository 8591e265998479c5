"""The Open Inference Protocol."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api import LINE
from tests.support.bundles import bundle_of


def tensor(*texts: str, **changes: Any) -> dict[str, Any]:
    return {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": list(texts), **changes}


def test_server_metadata_and_health(client: httpx.Client) -> None:
    server = client.get("/v2").json()
    assert server["name"] == "fmalloc" and server["version"] and server["extensions"] == []
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}


def test_a_domain_is_a_model_and_its_bundle_a_version(client: httpx.Client, bundles: Path) -> None:
    version = bundle_of(bundles, "kitchen").name.partition("@")[2]
    model = client.get("/v2/models/kitchen").json()
    assert model == {
        "name": "kitchen",
        "versions": [version],
        "platform": "ctranslate2_float32",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": "translation", "datatype": "BYTES", "shape": [-1]}],
    }
    assert client.get(f"/v2/models/kitchen/versions/{version}").json() == model
    for path in ("/v2/models/kitchen/ready", f"/v2/models/kitchen/versions/{version}/ready"):
        assert client.get(path).json() == {"name": "kitchen", "ready": True}


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/v2/models/law", "model 'law' is not served: use one of general, it, kitchen"),
        ("/v2/models/law/ready", "model 'law' is not served"),
        ("/v2/models/it/versions/1", "it has no version '1': "),
        ("/v2/models/it/versions/1/ready", "it has no version '1': "),
        ("/v2/models/%00", "model '\\x00' is not served"),
    ],
)
def test_what_is_not_served_is_404(client: httpx.Client, path: str, complaint: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404 and complaint in answer.json()["error"]


def test_inference_takes_the_model_that_the_path_names(client: httpx.Client, bundles: Path, expected: str) -> None:
    version = bundle_of(bundles, "it").name.partition("@")[2]
    body = {"id": "42", "inputs": [tensor(LINE, LINE)], "outputs": [{"name": "translation"}]}
    answer = client.post("/v2/models/it/infer", json=body)
    output = {"name": "translation", "datatype": "BYTES", "shape": [2], "data": [expected, expected]}
    assert answer.json() == {"model_name": "it", "model_version": version, "id": "42", "outputs": [output]}
    body = {"inputs": [tensor(LINE, shape=[1, 1])]}
    answer = client.post(f"/v2/models/it/versions/{version}/infer", json=body)
    assert answer.json()["outputs"][0]["data"] == [expected] and "id" not in answer.json()
    other = client.post("/v2/models/kitchen/infer", json={"inputs": [tensor(LINE)]}).json()
    assert (other["model_name"], other["outputs"][0]["data"] == [expected]) == ("kitchen", False)


@pytest.mark.parametrize(
    ("body", "status", "complaint"),
    [
        ({}, 400, "inputs is missing: expected a list of one tensor, text"),
        ({"inputs": []}, 400, "inputs is []"),
        ({"inputs": [tensor("a"), tensor("b")]}, 400, "inputs is ["),
        ({"inputs": [tensor("a", name="image")]}, 400, "inputs[1].name is 'image': expected 'text'"),
        ({"inputs": [tensor("a", datatype="FP32")]}, 400, "inputs[1].datatype is 'FP32': expected 'BYTES'"),
        ({"inputs": [tensor("a", shape=[2])]}, 400, "inputs[1].shape is [2]: expected [1] or [1, 1]"),
        ({"inputs": [tensor("a", data=["a", 1])]}, 400, "inputs[1].data[2] is 1: expected a valid string"),
        ({"inputs": [tensor("a")], "outputs": [{"name": "x"}]}, 400, "outputs[1].name is 'x': expected 'translation'"),
        ({"inputs": [tensor("a" * 5_001)]}, 413, "5001 characters, at most 5000"),
    ],
)
def test_bad_tensors_say_what_is_wrong(client: httpx.Client, body: Any, status: int, complaint: str) -> None:
    answer = client.post("/v2/models/it/infer", json=body)
    assert answer.status_code == status and complaint in answer.json()["error"]


def test_half_a_surrogate_pair_in_a_tensor_is_400(client: httpx.Client) -> None:
    body = b'{"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1], "data": ["\\ud800"]}]}'
    answer = client.post("/v2/models/it/infer", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"] == "inputs[1].data[1] holds half a surrogate pair at character 0"
