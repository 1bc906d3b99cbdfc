package main

import (
	"fmt"
	"net/http"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

// networkPoliciesCommand judges the first packet of each connection that the node's
// netfilter rules hand to a queue. Those rules are the node's own (not every kernel has the
// queue target for nftables, which the library would use), so a dead process fails closed.
func networkPoliciesCommand() *cobra.Command {
	var kubeconfig, node, healthAddress string
	var queue int
	command := &cobra.Command{
		Use:          "network-policies",
		SilenceUsage: true,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			config.QPS, config.Burst = 100, 200
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			factory := informers.NewSharedInformerFactory(client, 0)
			controller, err := networkpolicy.NewController(
				client,
				factory.Networking().V1().NetworkPolicies(),
				factory.Core().V1().Namespaces(),
				factory.Core().V1().Pods(),
				nil, nil, nil, nil,
				networkpolicy.Config{QueueID: queue, NodeName: node},
			)
			if err != nil {
				return fmt.Errorf("network policy controller: %w", err)
			}
			factory.Start(ctx.Done())
			go serveHealth(healthAddress)
			return controller.Run(ctx)
		},
	}
	flags := command.Flags()
	flags.StringVar(&kubeconfig, "kubeconfig", "", "credentials that may read pods, namespaces and network policies")
	flags.StringVar(&node, "hostname-override", "", "name of this node")
	flags.StringVar(&healthAddress, "healthz-bind-address", "127.0.0.1:9081", "address that answers /healthz")
	flags.IntVar(&queue, "nfqueue-id", 100, "number of the netfilter queue")
	return command
}

func serveHealth(address string) {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(response http.ResponseWriter, _ *http.Request) {
		_, _ = response.Write([]byte("ok"))
	})
	// A taken port only costs the health answer, which the caller notices.
	_ = http.ListenAndServe(address, mux)
}
