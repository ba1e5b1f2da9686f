package integration

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
)

func TestEditOfTheHubsCopyDoesNotReachTheCluster(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("edited", cluster1)
	r.starts()
	r.runsOn()
	running := r.must(cluster1)
	for _, edit := range []string{
		`{"metadata":{"labels":{"edited":"yes"},"annotations":{"edited":"yes"}}}`,
		`{"spec":{"entrypoint":"other","parallelism":1}}`,
		`{"spec":{"templates":[]}}`,
		`{"metadata":{"labels":{"workflows.argoproj.io/enable-ocm-multicluster":null}}}`,
		`{"metadata":{"annotations":{"workflows.argoproj.io/ocm-managed-cluster":"cluster2",` +
			`"workflow.open-cluster-management.io/assigned":null}}}`,
		`{"status":null}`,
	} {
		r.edit(theHub, edit)
		r.waitUntilMirrored()
	}
	r.edit(theHub, `{"status":{"phase":"Failed"}}`)
	r.waitForEvent("EditRefused", "field status.phase is another one")
	r.waitFor("Running", "")
	s.create("afterwards", cluster1).runs()
	eventually(t, func() error { return r.isAssignedTo("cluster1") })

	require.NoError(t, r.isNotSent())
	assert.Equal(t, running.GetResourceVersion(), r.must(cluster1).GetResourceVersion())
	r.succeeds()
	assert.Len(t, s.seen[cluster1].open("edited"), 1)
	assert.Empty(t, s.seen[cluster2].open("edited"))
	assert.True(t, contract.IsOurs(r.must(theHub)))
	r.isGone()
}

func TestLabelThatIsRemovedIsRestoredThoughTheWorkflowIsEditedMeanwhile(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	r := s.create("withdrawn", cluster1)
	r.starts()
	r.runsOn()
	restore := theManager.tap.Hold(t, func(request env.Request) bool {
		return r.isAbout(request) && bytes.Contains(request.Body, []byte(contract.LabelEnable))
	})
	r.edit(theHub, `{"metadata":{"labels":{"workflows.argoproj.io/enable-ocm-multicluster":null}}}`)
	restore.Await(t)
	r.edit(theHub, `{"metadata":{"annotations":{"edited":"yes"}}}`) // without the label, no watch shows it to the manager
	restore.Release()
	eventually(t, func() error { return r.isAssignedTo("cluster1") })
	r.succeeds()
	r.isGone()
}
