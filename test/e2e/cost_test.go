package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// maxWrites is how many writes to the hub's API server a small Workflow may cost the manager and the agent: one that is
// done within a second, which is how long the agent collects changes. Each second more may bring a report, and with it
// a write by either.
const maxWrites = 9

// Not parallel: whatever is written meanwhile counts.
func TestSmallWorkflowCostsFewWritesOnTheHub(t *testing.T) {
	s := newSpace(t)
	s.placement("one", "cluster1")
	s.create(s.hello("first", gen.WithPlacement("one"))).waitFor("Succeeded") // from now on nothing has to be waited for
	before := len(auditLog(t))
	r := s.create(s.hello("counted", gen.WithPlacement("one")))
	r.waitFor("Succeeded")
	labtest.Holds(t, resync, func() error { return r.wants(theHub, "Succeeded", "") }) // what comes late counts, too

	writes := map[write]int{}
	ours := 0
	for line := range bytes.Lines(auditLog(t)[before:]) {
		var entry auditEntry
		require.NoError(t, json.Unmarshal(line, &entry))
		if w, ok := entry.write(r); ok {
			writes[w]++
			if w.writer == writerManager || w.writer == writerAgent {
				ours++
			}
		}
	}
	took := r.duration()
	t.Logf("writes for one small Workflow of %s, from its creation to its end, Events apart:\n%s", took, table(writes))
	assert.LessOrEqual(t, ours, maxWrites+2*int(took/time.Second))
	assert.GreaterOrEqual(t, ours, 5, "this cannot be all")
}

// duration returns how long the Workflow ran.
func (r *run) duration() time.Duration {
	r.t.Helper()
	status := contract.Status(r.must(theHub))
	started, err := time.Parse(time.RFC3339, contract.StatusString(status, "startedAt"))
	require.NoError(r.t, err)
	finished, err := time.Parse(time.RFC3339, contract.StatusString(status, "finishedAt"))
	require.NoError(r.t, err)
	return finished.Sub(started)
}

// auditEntry is what is needed of an entry of the API server's audit log.
type auditEntry struct {
	Verb string
	User struct{ Username string }
	// ObjectRef names what was asked for; a creation may have no name there.
	ObjectRef struct{ Resource, Namespace, Name, Subresource string }
}

// write is a kind of write to the API server.
type write struct{ writer, verb, resource string }

const (
	writerManager = "manager"
	writerAgent   = "agent"
)

// write tells what kind of write the entry is: those of manager and agent whatever they are but what their clusters have free, which they
// write from time to time, and those of others if they concern the run.
func (e auditEntry) write(r *run) (write, bool) {
	isWrite := slices.Contains([]string{"create", "update", "patch", "delete", "deletecollection"}, e.Verb)
	if !isWrite || e.ObjectRef.Resource == "addonplacementscores" {
		return write{}, false
	}
	w := write{writer: e.User.Username, verb: e.Verb, resource: e.ObjectRef.Resource}
	if e.ObjectRef.Subresource != "" {
		w.resource += "/" + e.ObjectRef.Subresource
	}
	switch {
	case e.User.Username == "system:serviceaccount:"+lab.ChartRelease+":"+lab.ManagerDeployment:
		w.writer = writerManager
		return w, true
	case strings.HasPrefix(e.User.Username, "system:open-cluster-management:cluster:cluster1:addon:"+contract.AddonName):
		w.writer = writerAgent
		return w, true
	case strings.HasPrefix(e.User.Username, "system:open-cluster-management:cluster1:"):
		w.writer = "OCM's agent"
	case e.User.Username == "admin":
		w.writer = "user"
	}
	name := e.ObjectRef.Name
	return w, e.ObjectRef.Namespace == r.key.Namespace && name == r.key.Name || name == r.on(cluster1).Name ||
		w.resource == "manifestworks" && e.ObjectRef.Namespace == "cluster1"
}

// table shows writes by writer, verb and resource.
func table(writes map[write]int) string {
	var text strings.Builder
	out := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	fmt.Fprintln(out, "WRITER\tVERB\tRESOURCE\tTIMES")
	for _, w := range slices.SortedFunc(maps.Keys(writes), func(a, b write) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	}) {
		fmt.Fprintf(out, "%s\t%s\t%s\t%d\n", w.writer, w.verb, w.resource, writes[w])
	}
	if err := out.Flush(); err != nil {
		return err.Error()
	}
	return text.String()
}

// auditLog reads the hub's audit log, up to the last whole line.
func auditLog(t *testing.T) []byte {
	t.Helper()
	file, err := os.Open(theHub.AuditLog())
	require.NoError(t, err)
	defer func() { assert.NoError(t, file.Close()) }()
	text, err := io.ReadAll(file)
	require.NoError(t, err)
	return text[:bytes.LastIndexByte(text, '\n')+1]
}
