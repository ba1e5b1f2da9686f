package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/hollow"
	"open-cluster-management.io/argo-workflow-multicluster/test/bench/measure"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const (
	tinyClusters  = 3
	tinyWorkflows = 20
	// tinyRun is longer than the agent collects changes, so that each Workflow is reported as often on a slow machine.
	tinyRun      = 1500 * time.Millisecond
	tinyPatience = time.Minute
	// maxTinyWrites is how many writes to the hub's API server a Workflow may cost everybody, its creation by the user and OCM included:
	// what it costs without a race, and one more for those.
	maxTinyWrites = 14
)

// auditPolicy records who asked for what.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`

// tinyHub is the hub of the test, an API server without OCM.
var tinyHub struct {
	server *env.Server
	audit  string
}

func TestMain(m *testing.M) {
	os.Exit(env.Main(m, filepath.Join("..", "..", "_output", "bench-logs"), startTinyHub, func() error { return tinyHub.server.Stop() }))
}

func startTinyHub(ctx context.Context, dir string) error {
	policy := filepath.Join(dir, "audit-policy.yaml")
	tinyHub.audit = filepath.Join(dir, "logs", "audit.log")
	if err := errors.Join(os.MkdirAll(filepath.Dir(tinyHub.audit), 0o700), os.WriteFile(policy, []byte(auditPolicy), 0o600)); err != nil {
		return err
	}
	if err := logTo(filepath.Join(dir, "logs", "product.log")); err != nil {
		return err
	}
	crds, err := env.HubCRDs(ctx)
	if err != nil {
		return err
	}
	tinyHub.server, err = env.Start(ctx, dir, "hub", crds, "audit-policy-file="+policy, "audit-log-path="+tinyHub.audit)
	return err
}

// tiny is the manager and a few hollow clusters, on the hub.
type tiny struct {
	t        *testing.T
	client   client.Client
	fleet    *hollow.Fleet
	timeline *measure.Timeline
	audit    *measure.Audit

	mu sync.Mutex
	// started counts, by name, how often a Workflow began to run.
	started map[string]int
}

// TestTinyFleetCostsFewWritesAndLeavesNothingBehind is the benchmark with hollow clusters as a test: it checks counts, not times.
func TestTinyFleetCostsFewWritesAndLeavesNothingBehind(t *testing.T) {
	s := startTiny(t)
	names := namesOf("tiny", tinyWorkflows)
	s.each(names, func(ctx context.Context, name string) error {
		s.timeline.Note(name, measure.Created)
		return s.client.Create(ctx, byPlacement(small(name), hollowPlacement))
	})
	s.wait(names, measure.Shown)
	assert.Empty(t, s.timeline.Failed(names))
	for _, name := range names {
		assert.Equal(t, 1, s.started[name], "starts of %s", name)
	}
	assert.Len(t, s.timeline.Times(names, measure.Listed), tinyWorkflows, "listed by a ManifestWork")
	assert.Equal(t, tinyWorkflows, s.fleet.Workflows())

	counts, err := s.audit.Read()
	require.NoError(t, err)
	t.Logf("requests for each of %d Workflows:\n%s", tinyWorkflows, perWorkflow(counts, tinyWorkflows))
	assert.LessOrEqual(t, float64(counts.Sum(measure.Request.IsWrite).Total)/tinyWorkflows, float64(maxTinyWrites))
	assert.GreaterOrEqual(t, counts.Sum(measure.Request.IsWrite).Total, 6*tinyWorkflows, "this cannot be all")

	s.each(names, func(ctx context.Context, name string) error { return s.client.Delete(ctx, small(name)) })
	s.wait(names, measure.Removed)
	s.wait(names, measure.RemovedRemotely)
	assert.Zero(t, s.fleet.Workflows())
}

// startTiny starts the manager and the fleet until the test ends.
func startTiny(t *testing.T) *tiny {
	t.Helper()
	s := &tiny{t: t, timeline: measure.NewTimeline(), started: map[string]int{}}
	scheme, err := hollow.Scheme()
	require.NoError(t, err)
	s.client, err = client.New(s.access(userAgentUser), client.Options{Scheme: scheme})
	require.NoError(t, err)
	clusters := hollow.Names(tinyClusters)
	require.NoError(t, hollow.Register(t.Context(), s.client, clusters, hollowPlacement))
	s.fleet, err = hollow.Start(t.Context(), hollow.Options{
		Hub: s.access(""), Clusters: clusters, RunTime: tinyRun, StatusSync: tinyPatience, Workers: 8,
		Listed: func(name string) { s.timeline.Note(name, measure.Listed) }, Changed: s.note,
	})
	require.NoError(t, err)
	require.NoError(t, measure.Watch(t.Context(), s.access(userAgentWatch), contract.WorkflowGVR, gen.Namespace,
		s.timeline.OnHub, s.timeline.GoneFromHub))
	s.startManager()
	s.audit, err = measure.OpenAudit(tinyHub.audit)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.audit.Close()) })
	return s
}

// startManager starts the manager, with its flags by default but for addresses.
func (s *tiny) startManager() {
	s.t.Helper()
	config, err := tinyHub.server.User("manager", "system:masters")
	require.NoError(s.t, err)
	mgr, err := hub.NewManager(s.t.Context(), config, hub.Options{
		MetricsBindAddress: "0", HealthProbeBindAddress: "0", QPS: 300, Burst: 600, Concurrency: 16,
	})
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(s.t.Context())
	var running errgroup.Group
	running.Go(func() error { return mgr.Start(ctx) })
	s.t.Cleanup(func() {
		cancel()
		assert.NoError(s.t, running.Wait())
	})
	require.True(s.t, mgr.GetCache().WaitForCacheSync(ctx))
}

func (s *tiny) access(userAgent string) *rest.Config {
	config := rest.CopyConfig(tinyHub.server.Config)
	config.UserAgent, config.QPS = userAgent, -1
	return config
}

// note is told of each change of a Workflow on a hollow cluster.
func (s *tiny) note(before, after *unstructured.Unstructured) {
	if after == nil {
		s.timeline.GoneFromCluster(before)
		return
	}
	s.timeline.OnCluster(after)
	if before != nil && contract.Phase(before) == "" && contract.Phase(after) != "" {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.started[after.GetName()]++
	}
}

func (s *tiny) each(names []string, do func(ctx context.Context, name string) error) {
	s.t.Helper()
	group, ctx := errgroup.WithContext(s.t.Context())
	for _, name := range names {
		group.Go(func() error { return do(ctx, name) })
	}
	require.NoError(s.t, group.Wait())
}

func (s *tiny) wait(names []string, m measure.Moment) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), tinyPatience)
	defer cancel()
	_, err := s.timeline.Wait(ctx, names, m)
	require.NoError(s.t, err)
}

// perWorkflow lists requests with how often each was sent for a Workflow.
func perWorkflow(counts measure.Counts, workflows int) string {
	var text strings.Builder
	for _, request := range counts.Sorted() {
		if request.IsWrite() || request.IsRead() {
			fmt.Fprintf(&text, "%6.2f  %s %s %s\n", float64(counts[request].Total)/float64(workflows), request.Who, request.Verb, request.Resource)
		}
	}
	return text.String()
}
