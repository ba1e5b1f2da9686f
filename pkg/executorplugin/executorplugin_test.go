package executorplugin_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/executorplugin"
)

func TestOnlyStepsInOtherClustersAreClaimed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		method, path, body string
		code               int
		want               string
	}{
		"a step in another cluster": {
			body: `{"workflow": {"metadata": {"name": "a"}}, "template": {"name": "b", "plugin": {"multicluster": {"cluster": "c"}}}}`,
			code: http.StatusOK, want: `{"node":{}}`,
		},
		"another plugin":          {body: `{"template": {"plugin": {"slack": {}}}}`, code: http.StatusOK, want: `{}`},
		"a template without any":  {body: `{"template": {"http": {"url": "x"}}}`, code: http.StatusOK, want: `{}`},
		"nothing":                 {body: `{}`, code: http.StatusOK, want: `{}`},
		"no JSON":                 {body: `{`, code: http.StatusBadRequest, want: "read the request"},
		"a plugin that is a text": {body: `{"template": {"plugin": "x"}}`, code: http.StatusBadRequest, want: "read the request"},
		"too much":                {body: `{"x": "` + strings.Repeat("x", 5<<20) + `"}`, code: http.StatusBadRequest, want: "too large"},
		"another method":          {method: http.MethodGet, code: http.StatusMethodNotAllowed, want: "Method Not Allowed"},
		"another path":            {path: "/", body: "{}", code: http.StatusNotFound, want: "not found"},
	} {
		method, path := test.method, test.path
		if method == "" {
			method = http.MethodPost
		}
		if path == "" {
			path = "/api/v1/template.execute"
		}
		answer := httptest.NewRecorder()
		executorplugin.Handler().ServeHTTP(answer, httptest.NewRequest(method, path, strings.NewReader(test.body)))
		assert.Equal(t, test.code, answer.Code, name)
		assert.Contains(t, answer.Body.String(), test.want, name)
	}
}

func TestItServesUntilItIsToldToStop(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	served := make(chan error, 1)
	go func() { served <- executorplugin.Serve(ctx, listener) }()
	url := "http://" + listener.Addr().String() + "/api/v1/template.execute"
	answer, err := http.Post(url, "application/json", strings.NewReader(`{"template": {"plugin": {"multicluster": {}}}}`))
	require.NoError(t, err)
	body, err := io.ReadAll(answer.Body)
	require.NoError(t, errors.Join(err, answer.Body.Close()))
	assert.JSONEq(t, `{"node":{}}`, string(body))
	stop()
	require.NoError(t, <-served)
	require.Error(t, executorplugin.Serve(t.Context(), listener), "the listener is closed")
}
