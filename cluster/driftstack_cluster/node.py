"""The embedded cluster: brings its nodes to the state they should be in, from whatever they are in."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from driftstack_cluster import (
    cgroups,
    containers,
    credentials,
    firewall,
    health,
    namespaces,
    network,
    pause,
    state,
    system,
    teardown,
    toolchain,
)
from driftstack_cluster.backend import Access, Image
from driftstack_cluster.components import Components
from driftstack_cluster.errors import Busy, CommandFailed, NotReady, Precondition
from driftstack_cluster.layout import (
    DEMO_ADDRESS,
    DEMO_HOST,
    FACADE_NODE_PORT,
    FORBIDDEN_ADDRESSES,
    RESOLVER_ADDRESS,
    Layout,
    Machine,
)
from driftstack_cluster.processes import Process, Supervisor
from driftstack_cluster.progress import Progress, Step
from driftstack_cluster.settings import Settings
from driftstack_cluster.shell import run

_RUN_BYTES = 3 * 1024**3
_NODE_READY_SECONDS = 120.0


class EmbeddedNode:
    """A real Kubernetes in network namespaces of its own."""

    name = "embedded"

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = Layout(settings.instance, settings.nodes)
        self.tools = toolchain.tools(settings.checkout, settings.cache)
        self.supervisor = Supervisor(self.layout.run / "processes", self.layout.logs)
        self._surplus = range(0)
        self.state_file = self.layout.state / "state.json"

    def up(self, progress: Progress) -> Access:
        """Brings everything up that is not.

        Raises:
            Precondition: the machine lacks something.
            NotReady: a process did not come up.
        """
        system.require_root()
        system.ensure_packages(progress)
        toolchain.ensure(self.settings.checkout, self.settings.cache, progress)
        self._adopt(progress)
        toolchain.check_room(self.layout.state, _RUN_BYTES, "the node")
        with progress.step("Network") as step:
            enforced = self._network(step)
        if not enforced:
            progress.warn("this kernel cannot hand packets to a queue: NetworkPolicies are NOT enforced")
        components = self._components()
        with progress.step("Control plane") as step:
            self._control_plane(components, step, progress)
        with progress.step("Nodes") as step:
            self._nodes(components, step, enforced)
        self._write_kubeconfig(components)
        return self._access(enforced)

    def load(self, images: Sequence[Image], progress: Progress) -> dict[str, str]:
        """Imports what a node lacks."""
        for machine in self.layout.machines:
            missing = [image for image in images if not containers.has_image(machine, image.reference)]
            if not missing:
                continue
            with progress.step(f"Load images into {machine.name}") as step:
                for image in missing:
                    step.note(image.component)
                    self._import(machine, image)
                step.note(", ".join(image.component for image in missing))
        return {image.component: image.reference for image in images}

    def installed(self) -> str:
        """What was installed last."""
        return self._state().installed

    def remember(self, installed: str) -> None:
        """Keeps what is installed."""
        current = self._state()
        current.installed = installed
        state.save(self.state_file, current)

    def down(self, progress: Progress) -> None:
        """Removes processes, mounts, namespaces, routes, rules, groups and state."""
        system.require_root()
        self._refuse_anothers()
        teardown.remove(self.layout, self.supervisor, self.settings, progress)

    def status(self, progress: Progress) -> bool:
        """Lists processes and nodes."""
        alive, known = self.supervisor.alive(), self.supervisor.names()
        if not known:
            progress.info("No embedded node runs here. Start it with `make up`.")
            return False
        for name in known:
            progress.info(f"{name:28} {'runs' if name in alive else 'ENDED'}   {self.supervisor.log(name)}")
        with contextlib.suppress(CommandFailed, Precondition):
            for line in self._kubectl("get", "nodes", "--no-headers").splitlines():
                progress.info(line)
        return alive == known

    # Steps of `up`.

    def _adopt(self, progress: Progress) -> None:
        """Takes the node over from another checkout, unless that one still uses it."""
        current = self._state()
        mine = str(self.settings.checkout)
        self._refuse_anothers()
        if current.checkout and current.checkout != mine:
            progress.info(f"taking over the node of {current.checkout}")
        self._surplus = range(self.settings.nodes + 1, current.nodes + 1)
        current.checkout, current.nodes = mine, self.settings.nodes
        current.egress = self.settings.egress
        teardown.note_foreign(self.layout)
        state.save(self.state_file, current)

    def _refuse_anothers(self) -> None:
        owner = self._state().checkout
        if owner in ("", str(self.settings.checkout)) or self.settings.yes:
            return
        if self.supervisor.alive() and Path(owner).exists():
            raise Busy(
                f"the node that runs here belongs to the checkout {owner}",
                "Use that one, or run `make down` there, or take it over with `YES=1 make up`, "
                "or start a second node with `INSTANCE=1 make up`.",
            )

    def _network(self, step: Step) -> bool:
        layout = self.layout
        if not all(namespaces.exists(machine.namespace) for machine in layout.machines):
            # Pods of a namespace that is gone have lost their links for good.
            teardown.stop_everything(layout, self.supervisor)
        network.ensure(layout, self.settings.egress)
        firewall.ensure_egress(layout, self.settings.egress, layout.state / "ip_forward")
        for number in self._surplus:
            teardown.remove_machine(layout, Machine(layout.instance, number), self.supervisor)
        enforced = all([firewall.ensure_policies(layout, machine) for machine in layout.machines])
        teardown.end_orphans(layout, self.supervisor)
        step.note(f"{layout.node_network}, {'NAT through this machine' if self.settings.egress else 'no way out'}")
        return enforced

    def _control_plane(self, components: Components, step: Step, progress: Progress) -> None:
        restarted: list[str] = []
        for machine in self.layout.machines:
            cgroups.ensure(machine.cgroup)
            self._provide_profiles(machine)
            self._ensure(components.containerd(machine), restarted, wait=False)
        self._store(components, restarted, progress)
        self._ensure(components.api_server(), restarted)
        for process in (components.controller_manager(), components.scheduler()):
            self._ensure(process, restarted, wait=False)
        self._apply_base()
        for number in self._surplus:
            self._kubectl("delete", "node", Machine(self.layout.instance, number).name, "--ignore-not-found")
        step.note(_summary(restarted))

    def _nodes(self, components: Components, step: Step, enforced: bool) -> None:
        restarted: list[str] = []
        began = datetime.now(UTC)
        waiting = [components.controller_manager(), components.scheduler(), components.dns(), self._site()]
        for machine in self.layout.machines:
            self.supervisor.wait(components.containerd(machine))
            self._provide_pause(machine)
            waiting.append(components.kubelet(machine))
            if enforced:
                waiting.append(components.network_policies(machine))
        for process in waiting:
            self._ensure(process, restarted, wait=False)
        for machine in self.layout.machines:
            kubelet = components.kubelet(machine)
            self.supervisor.wait(kubelet)
            self._wait_ready(machine, began if kubelet.name in restarted else None)
            waiting.append(components.proxy(machine))
            self._ensure(waiting[-1], restarted, wait=False)
        for process in waiting:
            self.supervisor.wait(process)
        step.note(_summary(restarted))

    def _ensure(self, process: Process, restarted: list[str], wait: bool = True) -> None:
        if self.supervisor.ensure(process):
            restarted.append(process.name)
            if wait:
                self.supervisor.wait(process)

    def _store(self, components: Components, restarted: list[str], progress: Progress) -> None:
        """Starts etcd; a store that a power cut has damaged is put aside and begun anew."""
        process = components.etcd()
        for attempt in range(3):
            try:
                self._ensure(process, restarted)
                return
            except NotReady:
                damaged = process.name not in self.supervisor.alive()
                if attempt == 2 or not damaged:
                    raise
                if attempt == 1:
                    self._begin_anew(progress)

    def _begin_anew(self, progress: Progress) -> None:
        data = self.layout.state / "etcd"
        aside = self.layout.state / "etcd.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        if data.exists():
            data.replace(aside)
        progress.warn(f"the cluster's store does not start; it is begun anew (the old one: {aside})")
        current = self._state()
        current.applied = current.installed = ""
        state.save(self.state_file, current)

    def _provide_profiles(self, machine: Machine) -> None:
        source = self.settings.checkout / "cluster" / "seccomp" / "chromium.json"
        target = machine.kubelet_root / "seccomp" / "driftstack" / "chromium.json"
        containers.write_if_changed(target, source.read_text())

    def _provide_pause(self, machine: Machine) -> None:
        if not containers.has_image(machine, containers.PAUSE_IMAGE):
            archive = pause.archive(self.tools.pause, containers.PAUSE_IMAGE, machine.run / "pause.tar")
            containers.import_image(machine, archive, containers.PAUSE_IMAGE)
            archive.unlink()

    def _import(self, machine: Machine, image: Image) -> None:
        if image.archive is not None:
            containers.import_image(machine, image.archive, image.reference)
            return
        saved = machine.run / f"{image.component}.tar"
        try:
            run(["docker", "save", "--output", saved, image.reference], timeout=600)
            containers.import_image(machine, saved, image.reference)
        finally:
            saved.unlink(missing_ok=True)

    def _apply_base(self) -> None:
        text = (self.settings.checkout / "cluster" / "manifests" / "base.yaml").read_text()
        text = text.replace("${NODE_ADDRESS}", self.layout.control.address)
        current = self._state()
        wanted = toolchain.text_hash(text)
        if current.applied != wanted:
            self._kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=text)
            current.applied = wanted
            state.save(self.state_file, current)

    def _wait_ready(self, machine: Machine, since: datetime | None) -> None:
        """Waits for Ready, and with `since` for a sign of life after it (the last word may be stale)."""
        deadline = time.monotonic() + _NODE_READY_SECONDS
        while not self._is_ready(machine, since):
            if time.monotonic() > deadline:
                raise NotReady(
                    f"node {machine.name} is not Ready after {_NODE_READY_SECONDS:.0f} s",
                    f"See {self.layout.logs / 'kubelet.log'} and `kubectl describe node {machine.name}`.",
                )
            time.sleep(0.3)

    def _is_ready(self, machine: Machine, since: datetime | None) -> bool:
        try:
            node = json.loads(self._kubectl("get", "node", machine.name, "-o", "json"))
        except CommandFailed:
            return False
        conditions = {entry["type"]: entry for entry in node["status"].get("conditions", [])}
        ready = conditions.get("Ready", {})
        if ready.get("status") != "True":
            return False
        return since is None or datetime.fromisoformat(ready["lastHeartbeatTime"]) >= since.replace(microsecond=0)

    def _site(self) -> Process:
        root = self.settings.checkout / "cluster" / "site"
        program = Path(__file__).with_name("site.py")
        namespace = self.layout.control.namespace
        addresses = (DEMO_ADDRESS, *FORBIDDEN_ADDRESSES)
        return Process(
            name="site",
            argv=(sys.executable, "-I", str(program), "--root", str(root), *addresses),
            namespace=namespace,
            inputs=(program,),
            is_healthy=health.answers(namespace, f"http://{DEMO_ADDRESS}/status/200"),
        )

    # Values.

    def _components(self) -> Components:
        upstreams: tuple[str, ...] = ()
        if self.settings.egress:
            upstreams = system.upstream_resolvers()
            if not upstreams:
                raise Precondition(
                    "EGRESS=on, but this machine's only resolvers are on its loopback, out of the node's reach",
                    "Name another resolver in /etc/resolv.conf, or leave EGRESS off.",
                )
        return Components(self.layout, credentials.prepare(self.layout), self.tools.node, upstreams)

    def _state(self) -> state.State:
        return state.load(self.state_file)

    def _kubectl(self, *argv: str, stdin: str | None = None) -> str:
        kubeconfig = self.layout.certificates / "admin.kubeconfig"
        return run([self.tools.kubectl, f"--kubeconfig={kubeconfig}", *argv], stdin=stdin, timeout=60)

    def _write_kubeconfig(self, components: Components) -> None:
        source = components.credentials.kubeconfigs["admin"]
        target = self.settings.output / "kubeconfig"
        if not target.exists() or target.read_bytes() != source.read_bytes():
            self.settings.output.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            target.chmod(0o600)

    def _access(self, enforced: bool) -> Access:
        return Access(
            backend=self.name,
            kubeconfig=self.settings.output / "kubeconfig",
            facade_url=self.layout.facade_url,
            demo_url=f"http://{DEMO_HOST}/",
            kubectl=self.tools.kubectl,
            helm=self.tools.helm,
            values={
                "facade.service.type": '"NodePort"',
                "facade.service.nodePort": str(FACADE_NODE_PORT),
                # Receivers of webhooks on a developer's machine.
                "webhooks.allowHttp": "true",
                "webhooks.allowPrivate": "true",
                "browsers.nameservers": json.dumps([RESOLVER_ADDRESS]),
            },
            node_address=self.layout.control.address,
            versions={"kubernetes": toolchain.KUBERNETES_VERSION},
            probes=FORBIDDEN_ADDRESSES,
            policies_enforced=enforced,
            node_namespace=self.layout.control.namespace,
        )


def _summary(restarted: list[str]) -> str:
    return f"started {', '.join(restarted)}" if restarted else "all run"
