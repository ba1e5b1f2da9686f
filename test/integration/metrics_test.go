package integration

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/metrics"
)

// TestSecureMetricsAreForWhoMayReadThem serves them as manager and agent do, and asks as ServiceAccounts.
func TestSecureMetricsAreForWhoMayReadThem(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	kube, err := kubernetes.NewForConfig(theHub.server.Config)
	require.NoError(t, err)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	mgr, err := ctrl.NewManager(theHub.server.Config, ctrl.Options{Metrics: metrics.Server(address, true), HealthProbeBindAddress: "0"})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	defer func() {
		cancel()
		require.NoError(t, <-ended)
	}()

	token := func(name string) string {
		_, err := kube.CoreV1().ServiceAccounts(s.name).Create(t.Context(), &corev1.ServiceAccount{
			ObjectMeta: metav1.ObjectMeta{Name: name},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		made, err := kube.CoreV1().ServiceAccounts(s.name).CreateToken(t.Context(), name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		require.NoError(t, err)
		return made.Status.Token
	}
	anybody, prometheus := token("anybody"), token("prometheus")
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: s.name}, Rules: []rbacv1.PolicyRule{
		{NonResourceURLs: []string{"/metrics"}, Verbs: []string{"get"}},
	}}
	require.NoError(t, theHub.client.Create(t.Context(), role))
	require.NoError(t, theHub.client.Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: s.name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: s.name, Name: "prometheus"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
	}))
	for name, test := range map[string]struct {
		token string
		want  int
	}{
		"who has no token":        {"", http.StatusUnauthorized},
		"who has no right":        {anybody, http.StatusForbidden},
		"who may get the metrics": {prometheus, http.StatusOK},
	} {
		require.EventuallyWithT(t, func(c *assert.CollectT) {
			status, body, err := read(t.Context(), "https://"+address+"/metrics", test.token)
			require.NoError(c, err)
			assert.Equal(c, test.want, status, "%s: %s", name, body)
			if status == http.StatusOK {
				assert.Contains(c, body, "controller_runtime_")
			}
		}, patience, 100*time.Millisecond, name)
	}
}

// read gets a URL with a bearer token. The server's certificate is its own.
func read(ctx context.Context, url, token string) (int, string, error) {
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // as a ServiceMonitor
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", fmt.Errorf("read metrics: %w", err)
	}
	return response.StatusCode, string(body), nil
}
