"""The text of the files that Triton reads: config.pbtxt and model.py."""

from fmalloc_export.triton.options import TritonOptions
from fmalloc_runtime.triton.domain import TritonDomain
from fmalloc_runtime.triton.routing import RoutingModel
from fmalloc_runtime.triton.tensors import BUNDLE, DOMAIN, TEXT, TRANSLATION

_CONFIG = """\
name: "{name}"
backend: "python"
max_batch_size: {batch_texts}
input [ {{ name: "{text}" data_type: TYPE_STRING dims: [ 1 ] }} ]
output [
{outputs}
]
instance_group [ {{ kind: {kind} count: {instances} }} ]
dynamic_batching {{
  max_queue_delay_microseconds: {microseconds}
  default_queue_policy {{ max_queue_size: {queue_requests} }}
}}
"""
_PARAMETER = 'parameters {{ key: "{key}" value: {{ string_value: "{value}" }} }}\n'
_MODEL = '''\
"""{what}; written by `fmalloc triton`. The Python that Triton runs needs `pip install fmalloc`."""

from {model.__module__} import {model.__name__} as TritonPythonModel

__all__ = ["TritonPythonModel"]
'''
# A routing instance waits for the domains' answers to one batch at a time.
_ROUTING_INSTANCES = 2


def domain_config(domain: str, options: TritonOptions) -> str:
    """config.pbtxt of a domain's model."""
    kind = "KIND_GPU" if options.device == "cuda" else "KIND_CPU"
    config = _config(domain, options, (TRANSLATION, BUNDLE), kind, options.instances)
    return config + _PARAMETER.format(key="threads", value=options.threads)


def routing_config(options: TritonOptions) -> str:
    """config.pbtxt of the model that routes."""
    return _config(options.router, options, (TRANSLATION, DOMAIN), "KIND_CPU", _ROUTING_INSTANCES)


def domain_model(domain: str) -> str:
    """model.py of a domain's model."""
    return _MODEL.format(what=f"The domain {domain}", model=TritonDomain)


def routing_model() -> str:
    """model.py of the model that routes."""
    return _MODEL.format(what="Routes between the domains", model=RoutingModel)


def _config(name: str, options: TritonOptions, outputs: tuple[str, ...], kind: str, instances: int) -> str:
    return _CONFIG.format(
        name=name,
        batch_texts=options.batch_texts,
        text=TEXT,
        outputs=",\n".join(f'  {{ name: "{output}" data_type: TYPE_STRING dims: [ 1 ] }}' for output in outputs),
        kind=kind,
        instances=instances,
        microseconds=round(options.queue_seconds * 1e6),
        queue_requests=options.queue_requests,
    )
