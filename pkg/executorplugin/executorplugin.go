// Package executorplugin keeps Argo's agent from failing steps that run in other clusters. Argo starts the agent in a pod of its own for
// each Workflow with plugin templates, asks the executor plugins in that pod who runs a template, and fails the node if none does. This
// one says of steps in other clusters that they are its own, and does nothing: the manager on the hub gives their results.
//
// It is for hubs whose API server has no MutatingAdmissionPolicy, and for Workflows that have HTTP templates or other plugins as well:
// else that pod is not started.
package executorplugin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract/step"
)

// Port is where Argo's agent expects the plugin.
const Port = 4355

const (
	path = "/api/v1/template.execute"
	// maxBytes is how large a request may be: etcd does not take larger tasks.
	maxBytes = 4 << 20
	// grace is how long a request may take to end when the pod ends.
	grace = 5 * time.Second
)

// Handler returns what answers Argo's agent: POST /api/v1/template.execute with {"template": {"plugin": {...}}}. The answer is {"node": {}}
// for a step in another cluster, and {} for any other template, which leaves it to other plugins.
func Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+path, execute)
	return mux
}

func execute(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Template struct {
			Plugin map[string]any `json:"plugin"`
		} `json:"template"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBytes)).Decode(&asked); err != nil {
		http.Error(w, fmt.Sprintf("read the request: %v", err), http.StatusBadRequest)
		return
	}
	answer := "{}"
	if step.IsStep(asked.Template.Plugin) {
		answer = `{"node":{}}`
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = fmt.Fprintln(w, answer) // who has asked is gone if it fails
}

// Serve answers at the listener until the context ends, and returns an error if it cannot.
func Serve(ctx context.Context, listener net.Listener) error {
	server := &http.Server{Handler: Handler(), ReadHeaderTimeout: grace}
	stopped := make(chan error, 1)
	go func() {
		<-ctx.Done()
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		stopped <- server.Shutdown(within)
	}()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve: %w", err)
	}
	return <-stopped
}
