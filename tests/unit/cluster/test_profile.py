"""The seccomp profile allows what Chromium's sandbox needs, and no more of the same calls."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

CLUSTER = Path(__file__).parents[3] / "cluster"
PROFILE = json.loads((CLUSTER / "seccomp" / "chromium.json").read_text())


def _rules(call: str) -> list[dict[str, Any]]:
    return [rule for rule in PROFILE["syscalls"] if call in rule["names"]]


def test_what_is_not_named_is_refused() -> None:
    assert PROFILE["defaultAction"] == "SCMP_ACT_ERRNO"
    for call in ("mount", "umount2", "setns", "ptrace_nothing", "bpf", "init_module", "pivot_root"):
        assert _rules(call) == []


def test_clone_may_not_make_mount_cgroup_uts_or_ipc_namespaces() -> None:
    masks = [rule["args"] for rule in _rules("clone")]

    assert [{"index": 0, "value": 0x0E020000, "op": "SCMP_CMP_MASKED_EQ"}] in masks
    assert all(len(args) == 1 and args[0]["op"] == "SCMP_CMP_MASKED_EQ" for args in masks)
    assert all(args[0]["value"] & 0x0E020000 == 0x0E020000 for args in masks)


def test_unshare_makes_a_user_namespace_and_nothing_else() -> None:
    [rule] = _rules("unshare")

    assert rule["args"] == [{"index": 0, "value": 0x10000000, "op": "SCMP_CMP_EQ"}]


def test_clone3_falls_back_to_clone() -> None:
    [rule] = _rules("clone3")

    assert (rule["action"], rule["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
