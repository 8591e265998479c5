"""Digests that fit again after a mutation, as somebody with access to all files would make them."""

import hashlib
import json
from pathlib import Path
from typing import Any


def seal(kind: str, folder: Path, path: Path) -> bool:
    """Make what names the mutated file's digest name its new one; False where there is nothing to mend."""
    if kind == "bundle":
        return _seal_bundle(folder / "bundles", path.relative_to(folder / "bundles"))
    return _seal_store(folder / "store")


def _seal_bundle(bundles: Path, name: Path) -> bool:
    bundle = bundles / name.parts[0]
    manifest = bundle / "manifest.json"
    if len(name.parts) < 2 or not manifest.is_file() or name.suffix == ".delta":
        return False
    content = _read(manifest)
    if isinstance(content, dict) and name.name != manifest.name:
        _digest_files(content, bundle)
        _write(manifest, content, 2)
    domain = content.get("domain") if isinstance(content, dict) else None
    live = json.loads((bundles / "live.json").read_text())
    before = bundle.name.partition("@")[0]
    if not isinstance(domain, str) or not domain.isidentifier():
        domain = before
    renamed = f"{domain}@{_digest(manifest)[:12]}"
    bundle.rename(bundles / renamed)
    live["domains"].pop(before)
    live["domains"][domain] = renamed
    _write(bundles / "live.json", live, 2)
    return True


def _seal_store(store: Path) -> bool:
    """Digests of files, the chain of records, and the head."""
    stated = _read(store / "head.json")
    links = stated.get("links") if isinstance(stated, dict) else None
    if not isinstance(links, list) or not (store / "store.json").is_file():
        return False
    _seal_record(store / "store.json", store)
    head = _digest(store / "store.json")
    for link in links:
        record = _record(store, link)
        if record is None:
            return False
        if link.get("kind") != "freed":
            _seal_record(record, record.parent, head)
            if not _is_file(record):
                return False
            link["record"] = _digest(record)
        head = hashlib.sha256(f"{head} {link.get('record')}".encode("utf-8", "surrogatepass")).hexdigest()
    _write(store / "head.json", {**stated, "head": head}, 1)
    for record in sorted(store.glob("distilled/*/distilled.json")):
        _seal_distilled(record)
    return True


def _record(store: Path, link: Any) -> Path | None:
    name = link.get("name") if isinstance(link, dict) else None
    if not isinstance(name, str) or not name.replace("@", "").isalnum():
        return None
    kinds = {"growth": "grown/{}/growth.json", "freeing": "freed/{}.json", "current": "current/{}.json"}
    return store / kinds.get(str(link.get("kind")), "tasks/{}/task.json").format(name)


def _seal_distilled(record: Path) -> None:
    """The digest of the weights, and the folder's name."""
    content, weights = _read(record), record.parent / "model.safetensors"
    if not record.is_file() or record.is_symlink():
        return
    if isinstance(content, dict) and weights.is_file() and content.get("model") != _digest(weights):
        _write(record, {**content, "model": _digest(weights)}, 1)
    record.parent.rename(record.parent.with_name(_digest(record)[:12]))


def _seal_record(record: Path, folder: Path, head: str = "") -> None:
    content = _read(record)
    if isinstance(content, dict) and not record.is_symlink():
        before = json.dumps(content, sort_keys=True)
        _digest_files(content, folder)
        if "before" in content:
            content["before"] = head
        if json.dumps(content, sort_keys=True) != before:
            _write(record, content, 1)


def _digest_files(record: dict[str, Any], folder: Path) -> None:
    files = record.get("files")
    if isinstance(files, dict):
        for name in files:
            if _is_file(path := folder / name) and path.resolve().parent != Path("/dev"):
                files[name] = _digest(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # such as a name that is too long for a file
        return False


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes()) if path.is_file() else None
    except (ValueError, RecursionError, OSError):
        return None


def _write(path: Path, content: Any, indent: int) -> None:
    text = json.dumps(content, ensure_ascii=False, indent=indent, sort_keys=True)
    path.unlink(missing_ok=True)
    path.write_bytes(f"{text}\n".encode("utf-8", "surrogatepass"))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
