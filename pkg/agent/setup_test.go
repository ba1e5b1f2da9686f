package agent

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/rest"
	clienttesting "k8s.io/client-go/testing"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

func validOptions() Options {
	return Options{
		HubKubeconfig: "/etc/hub/kubeconfig", ClusterName: "cluster1", Namespace: "agents",
		MetricsBindAddress: "0", HealthProbeBindAddress: "0",
		HubQPS: 100, HubBurst: 100, QPS: 100, Burst: 100, Concurrency: 1, ReportInterval: time.Second,
	}
}

func TestOptionsNameTheFlagsToCorrect(t *testing.T) {
	require.NoError(t, validOptions().Validate())
	err := Options{ClusterName: "Not A Name", InstanceID: "not a label!", ReportBandwidth: -1}.Validate()
	for _, flag := range []string{
		"--hub-kubeconfig", "--cluster-name", "--agent-namespace", "--argo-instance-id", "--concurrency", "--report-interval",
		"--report-bandwidth",
	} {
		assert.ErrorContains(t, err, flag)
	}
}

func TestTheGateIsNoInstanceIDOfAController(t *testing.T) {
	options := validOptions()
	options.InstanceID = contract.InstanceIDGate
	require.ErrorContains(t, options.Validate(), "--argo-instance-id")
}

// asked is an API server that answers every request with the status, and says when it was first asked for the path.
func asked(t *testing.T, status int, path string) (*rest.Config, <-chan struct{}) {
	t.Helper()
	seen := make(chan struct{})
	var once sync.Once
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == path {
			once.Do(func() { close(seen) })
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}, seen
}

// The agent neither exits nor misses its context because a side is not there.
func TestTheAgentWaitsForBothSides(t *testing.T) {
	tests := map[string]struct{ hub, managed int }{
		"while the hub is away":                       {hub: http.StatusServiceUnavailable, managed: http.StatusServiceUnavailable},
		"while it may not read from the hub":          {hub: http.StatusForbidden, managed: http.StatusNotFound},
		"while neither the CRD nor Argo is installed": {hub: http.StatusNotFound, managed: http.StatusNotFound},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			hub, hubAsked := asked(t, test.hub, "/apis/workflow.open-cluster-management.io/v1alpha1/namespaces/cluster1/remoteworkflows")
			managed, managedAsked := asked(t, test.managed, "/apis/argoproj.io/v1alpha1/workflows")
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- Start(ctx, hub, managed, validOptions()) }()
			for _, asked := range []<-chan struct{}{hubAsked, managedAsked} {
				select {
				case <-asked:
				case err := <-done:
					require.FailNow(t, "the agent has exited", "%v", err)
				}
			}
			cancel()
			require.NoError(t, <-done)
		})
	}
}

func TestTheProbesAnswerWhileTheAgentWaitsForItsKubeconfig(t *testing.T) {
	options := validOptions()
	options.HubKubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	options.HealthProbeBindAddress = freeAddress(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, &rest.Config{Host: "http://127.0.0.1:1"}, options) }()
	for _, path := range []string{"/healthz", "/readyz"} {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+options.HealthProbeBindAddress+path, http.NoBody)
			require.NoError(c, err)
			response, err := http.DefaultClient.Do(request)
			require.NoError(c, err)
			assert.Equal(c, http.StatusOK, response.StatusCode)
			assert.NoError(c, response.Body.Close())
		}, 10*time.Second, 10*time.Millisecond)
	}
	cancel()
	require.NoError(t, <-done)
}

func TestRunRefusesOptionsThatCannotWork(t *testing.T) {
	require.ErrorContains(t, Run(t.Context(), &rest.Config{}, Options{}), "--cluster-name")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return listener.Addr().String()
}

func TestWithoutTheCRDOfWorkflowsTheAgentDoesNotWork(t *testing.T) {
	server := &fakediscovery.FakeDiscovery{Fake: &clienttesting.Fake{}}
	assert.False(t, servesWorkflows(server), "no group")
	group := &metav1.APIResourceList{GroupVersion: "argoproj.io/v1alpha1", APIResources: []metav1.APIResource{{Name: "cronworkflows"}}}
	server.Resources = []*metav1.APIResourceList{group}
	assert.False(t, servesWorkflows(server), "another kind of the group")
	group.APIResources = append(group.APIResources, metav1.APIResource{Name: "workflows"})
	assert.True(t, servesWorkflows(server))
	server.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("down") })
	assert.True(t, servesWorkflows(server), "nothing is known")
}
