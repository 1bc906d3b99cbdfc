from __future__ import annotations

from driftstack_agent.chromium import FLAGS, arguments, environment, resolver_rules
from driftstack_agent.settings import Settings


def test_the_sandbox_is_never_switched_off() -> None:
    line = " ".join(arguments(Settings(token="t" * 32), "/tmp/profile"))
    assert "sandbox" not in line
    assert "--single-process" not in line
    assert "--no-zygote" not in line
    assert "--remote-debugging-pipe" in FLAGS
    assert "remote-debugging-port" not in line


def test_chromiums_environment_is_its_own() -> None:
    names = set(environment("/tmp/profile"))
    assert not [name for name in names if name.startswith(("DRIFTSTACK", "KUBERNETES", "PYTHON"))]
    assert {"HOME", "PATH", "LANG"} <= names


def test_resolver_rules_cover_loopback_and_the_pod_in_every_form() -> None:
    rules = resolver_rules({"10.244.0.7", "127.0.0.1", "fd00::7"}, "browser-1").split(",")
    hosts = [rule.removeprefix("MAP ").removesuffix(" ~NOTFOUND") for rule in rules]
    assert all(rule == f"MAP {host} ~NOTFOUND" for rule, host in zip(rules, hosts, strict=True))
    assert {"127.*.*.*", "0.0.0.0", "::", "::1", "::ffff:7f*", "localhost", "localhost.", "*.localhost."} <= set(
        hosts
    )
    assert {"10.244.0.7", "::ffff:af4:7", "fd00::7", "browser-1", "browser-1."} <= set(hosts)
    assert len(hosts) == len(set(hosts))
