from __future__ import annotations

import pytest

from driftstack_agent.settings import InvalidSettings, Settings

TOKEN = "t" * 64


def test_defaults_are_those_of_a_pod() -> None:
    settings = Settings.load({"DRIFTSTACK_AGENT_TOKEN": TOKEN, "HOME": "/tmp", "DRIFTSTACK_OTHER": "x"})
    assert settings == Settings(token=TOKEN)
    assert (settings.port, settings.termination_log) == (8300, "/dev/termination-log")


def test_every_setting_can_be_set() -> None:
    values = {"TOKEN": TOKEN, "LISTEN": "10.0.0.1", "PORT": "0", "CHROMIUM": "/c", "FOLDER": "/f"}
    values |= {"TERMINATION_LOG": "/t", "START_SECONDS": "5"}
    settings = Settings.load({f"DRIFTSTACK_AGENT_{name}": value for name, value in values.items()})
    assert settings == Settings(TOKEN, "10.0.0.1", 0, "/c", "/f", "/t", 5)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "TOKEN is missing"),
        ({"TOKEN": "short"}, "at least 32"),
        ({"TOKEN": "t" * 63 + "\n"}, "printable"),
        ({"TOKEN": "é" * 64}, "ASCII"),
        ({"TOKEN": TOKEN, "PORT": "x"}, "PORT must be a whole number"),
        ({"TOKEN": TOKEN, "PORT": "65536"}, "from 0 to 65535"),
        ({"TOKEN": TOKEN, "PORT": "tcp://10.96.0.1:80"}, "whole number"),
        ({"TOKEN": TOKEN, "START_SECONDS": "0"}, "from 1 to"),
        ({"TOKEN": TOKEN, "PROT": "8300"}, "DRIFTSTACK_AGENT_PROT is no setting"),
        ({"TOKEN": TOKEN, "port": "8300"}, "is no setting"),
    ],
)
def test_refuses_what_cannot_work(environment: dict[str, str], message: str) -> None:
    with pytest.raises(InvalidSettings, match=message) as caught:
        Settings.load({f"DRIFTSTACK_AGENT_{name}": value for name, value in environment.items()})
    assert TOKEN not in str(caught.value)
