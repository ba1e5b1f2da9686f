package e2e

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// Not parallel: it cuts a cluster off.
func TestHubThatIsAwayForLongerThanAResyncSeesOneRunOfEachAndHowItEnded(t *testing.T) {
	s := newSpace(t)
	h := s.record(cluster2)
	const lasts = 15 * time.Second
	runs := map[string]*run{}
	for _, name := range []string{"kept", "ttl-0", "ttl-1", "ttl-5", "deleted-when-done", "deleted-while-running"} {
		duration := lasts
		if name == "deleted-while-running" {
			duration = 10 * time.Minute
		}
		runs[name] = s.create(s.hello(name, on(cluster2), lasting(duration)))
	}
	for name, r := range runs {
		r.waitForNodes(1)
		var ttl int
		if _, err := fmt.Sscanf(name, "ttl-%d", &ttl); err == nil {
			// One that only the cluster knows of: the hub would honour its own, too, and delete its copy.
			r.edit(cluster2, fmt.Sprintf(`{"spec":{"ttlStrategy":{"secondsAfterCompletion":%d}}}`, ttl))
		}
	}

	cutOff(t, cluster2)
	runs["deleted-while-running"].delete(cluster2)
	for name, r := range runs {
		want := "Succeeded"
		if name == "deleted-while-running" {
			want = "Failed" // the agent terminates it, hub or no hub
		}
		labtest.Eventually(t, patience, func() error { return r.wants(cluster2, want, "") })
	}
	runs["deleted-when-done"].delete(cluster2)
	labtest.Holds(t, quiet, func() error {
		errs := []error{h.ran(len(runs), len(runs))}
		for _, r := range runs {
			errs = append(errs, r.wants(theHub, "Running", "")) // and none is released before the hub knows its end
			_, err := r.get(cluster2)
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	})
	require.NoError(t, cluster2.Reconnect())

	for name, r := range runs {
		if name == "deleted-while-running" {
			r.waitForMessage("Error", "cluster cluster2: ")
			continue
		}
		r.waitFor("Succeeded")
		if name == "kept" {
			labtest.Eventually(t, patience, func() error { return r.mirrored(cluster2) })
		} else {
			labtest.Eventually(t, patience, func() error { return r.gone(cluster2) })
		}
	}
	h.staysSo(t, len(runs), len(runs))
	for _, r := range runs {
		r.delete(theHub)
		r.waitUntilGone(cluster2)
	}
}
