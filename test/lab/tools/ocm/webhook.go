package main

import (
	"fmt"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	"open-cluster-management.io/ocm/pkg/addon/webhook/v1alpha1"
	"open-cluster-management.io/ocm/pkg/addon/webhook/v1beta1"
	ctrl "sigs.k8s.io/controller-runtime"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

// newAddonWebhook serves OCM's conversion of the addon API between v1alpha1 and v1beta1. OCM's own command takes
// the fixed ports 8000 and 8080, of which two labs on one machine have one only.
func newAddonWebhook() *cobra.Command {
	var port int
	var certDir, health string
	cmd := &cobra.Command{
		Use:   "addon-webhook",
		Short: "Start the addon conversion webhook server",
		RunE: func(*cobra.Command, []string) error {
			ctrl.SetLogger(klog.Background())
			config, err := ctrl.GetConfig()
			if err != nil {
				return err
			}
			scheme := runtime.NewScheme()
			for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.Install, v1beta1.Install} {
				if err := add(scheme); err != nil {
					return err
				}
			}
			mgr, err := ctrl.NewManager(config, ctrl.Options{
				Scheme:                 scheme,
				HealthProbeBindAddress: health,
				Metrics:                metricsserver.Options{BindAddress: "0"},
				WebhookServer:          webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: port, CertDir: certDir}),
			})
			if err != nil {
				return err
			}
			if err := registerConversions(mgr); err != nil {
				return err
			}
			return mgr.Start(ctrl.SetupSignalHandler())
		},
	}
	cmd.Flags().IntVar(&port, "port", 9443, "port of the webhook server")
	cmd.Flags().StringVar(&certDir, "certdir", "", "folder with tls.crt and tls.key")
	cmd.Flags().StringVar(&health, "health-probe-bind-address", "0", "address of the health check")
	return cmd
}

func registerConversions(mgr ctrl.Manager) error {
	webhooks := []interface{ Init(ctrl.Manager) error }{
		&v1alpha1.ManagedClusterAddOnWebhook{}, &v1beta1.ManagedClusterAddOnWebhook{},
		&v1alpha1.ClusterManagementAddOnWebhook{}, &v1beta1.ClusterManagementAddOnWebhook{},
	}
	for _, hook := range webhooks {
		if err := hook.Init(mgr); err != nil {
			return fmt.Errorf("register %T: %w", hook, err)
		}
	}
	return mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker())
}
