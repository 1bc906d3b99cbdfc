"""The pod infrastructure image: one small static program, packed without any build tool."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path

# The kernel's name of an architecture -> the image format's.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def archive(program: Path, reference: str, target: Path) -> Path:
    """Writes a Docker archive that holds the program alone, run as nobody.

    Args:
        program: a static executable.
        reference: name and tag of the image.
        target: file to write.
    """
    layer = _tar({"pause": (program.read_bytes(), 0o755)})
    config = {
        "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "config": {"Entrypoint": ["/pause"], "User": "65535:65535"},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        "history": [{"created_by": "driftstack"}],
    }
    config_bytes = json.dumps(config).encode()
    config_name = f"{hashlib.sha256(config_bytes).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    files = {
        "layer.tar": (layer, 0o644),
        config_name: (config_bytes, 0o644),
        "manifest.json": (json.dumps(manifest).encode(), 0o644),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(_tar(files))
    return target


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (content, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
