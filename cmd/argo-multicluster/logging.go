package main

import (
	"fmt"

	"github.com/spf13/pflag"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// logOptions are the flags that every long-running subcommand has for its logs.
type logOptions struct {
	level  int8
	format string
}

func (o *logOptions) addFlags(flags *pflag.FlagSet) {
	flags.Int8Var(&o.level, "log-level", 0, "verbosity of the logs: 0 says what changes, 4 what is looked at")
	flags.StringVar(&o.format, "log-format", "json", "format of the logs: json or text")
}

// setup makes everything in the process log to standard error in the chosen way, the libraries' klog included.
func (o *logOptions) setup() error {
	if o.format != "json" && o.format != "text" {
		return fmt.Errorf("--log-format: want json or text, not %q", o.format)
	}
	logger := zap.New(zap.UseDevMode(o.format == "text"), zap.Level(zapcore.Level(-o.level)),
		zap.StacktraceLevel(zapcore.PanicLevel), func(opts *zap.Options) { opts.TimeEncoder = zapcore.RFC3339NanoTimeEncoder })
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	return nil
}
