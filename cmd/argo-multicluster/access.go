package main

import (
	"fmt"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// access are the flags of every subcommand that works on a cluster: how to reach it, and how to log.
type access struct {
	kubeconfig string
	logLevel   int8
	logFormat  string
}

func (a *access) addFlags(flags *pflag.FlagSet, cluster string) {
	flags.StringVar(&a.kubeconfig, "kubeconfig", "",
		"kubeconfig of the "+cluster+"; by default $KUBECONFIG, else ~/.kube/config, and in a pod its service account")
	flags.Int8Var(&a.logLevel, "log-level", 0, "verbosity of the logs: 0 says what changes, 4 what is looked at")
	flags.StringVar(&a.logFormat, "log-format", "json", "format of the logs: json or text")
}

// config makes everything in the process log to standard error in the chosen way, the libraries' klog included, and returns how to
// reach the cluster: by the given kubeconfig, else $KUBECONFIG or ~/.kube/config, else, in a pod, by its service account.
func (a *access) config() (*rest.Config, error) {
	if a.logFormat != "json" && a.logFormat != "text" {
		return nil, fmt.Errorf("--log-format: want json or text, not %q", a.logFormat)
	}
	logger := zap.New(zap.UseDevMode(a.logFormat == "text"), zap.Level(zapcore.Level(-a.logLevel)),
		zap.StacktraceLevel(zapcore.PanicLevel), func(opts *zap.Options) { opts.TimeEncoder = zapcore.RFC3339NanoTimeEncoder })
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = a.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("load kubeconfig: %w", err)
	}
	return config, nil
}
