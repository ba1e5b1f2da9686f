// Package metrics says how a process of the product serves its metrics.
package metrics

import (
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

// Server returns what a manager needs to serve its metrics at the address, host:port; "0" for not at all. Secure ones are served by TLS,
// with a certificate of their own, to who may get the URL /metrics on the cluster that the manager works on.
func Server(address string, isSecure bool) metricsserver.Options {
	options := metricsserver.Options{BindAddress: address, SecureServing: isSecure}
	if isSecure {
		options.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	return options
}
