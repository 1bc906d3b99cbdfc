// Package main derives the seccomp profile of the browser container: containerd's default
// for a container without capabilities, and the three rules that Chromium's own sandbox needs.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

const (
	cloneNewUser = 0x10000000
	// The namespaces that stay forbidden in clone: mount, cgroup, uts and ipc. User, pid and
	// network namespaces are what the renderer's sandbox is made of.
	forbiddenNamespaces = 0x0E020000
)

func main() {
	profile := seccomp.DefaultProfile(&specs.Spec{
		Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{}},
	})
	profile.Syscalls = append(profile.Syscalls, sandboxRules()...)
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(profile); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func sandboxRules() []specs.LinuxSyscall {
	return []specs.LinuxSyscall{
		{
			Names:  []string{"clone"},
			Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: forbiddenNamespaces, ValueTwo: 0, Op: specs.OpMaskedEqual},
			},
		},
		{
			Names:  []string{"unshare"},
			Action: specs.ActAllow,
			Args: []specs.LinuxSeccompArg{
				{Index: 0, Value: cloneNewUser, Op: specs.OpEqualTo},
			},
		},
		{Names: []string{"chroot"}, Action: specs.ActAllow},
	}
}
