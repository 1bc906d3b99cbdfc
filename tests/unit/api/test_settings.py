from __future__ import annotations

import pytest

from driftstack_api.settings import load_settings
from driftstack_common.errors import SettingsError


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DRIFTSTACK_API_PORT", raising=False)
    assert load_settings().port == 8000


@pytest.mark.parametrize(
    ("name", "value"),
    [("PROT", "8000"), ("PORT", "tcp://10.96.0.1:80"), ("PORT", "70000"), ("PROBLEM_TYPE_BASE", "errors/")],
)
def test_what_cannot_work_names_the_variable(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"DRIFTSTACK_API_{name}", value)
    with pytest.raises(SettingsError, match=f"DRIFTSTACK_API_{name}"):
        load_settings()
