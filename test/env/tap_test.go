package env

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/rest"
)

// served is a tap before a server that counts its requests.
func served(t *testing.T) (tap *Tap, send func(context.Context, string, string, string) error, count *atomic.Int32) {
	t.Helper()
	count = &atomic.Int32{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		count.Add(1)
		w.WriteHeader(http.StatusConflict)
	}))
	t.Cleanup(server.Close)
	tap = &Tap{}
	client, err := rest.HTTPClientFor(tap.Into(&rest.Config{Host: server.URL}))
	require.NoError(t, err)
	return tap, func(ctx context.Context, method, path, body string) error {
		req, err := http.NewRequestWithContext(ctx, method, server.URL+path, strings.NewReader(body))
		if err != nil {
			return err
		}
		response, err := client.Do(req)
		if err != nil {
			return err
		}
		return response.Body.Close()
	}, count
}

func TestTapSeesWhatIsWritten(t *testing.T) {
	tap, send, _ := served(t)
	for _, request := range []struct{ method, path, body string }{
		{http.MethodGet, "/api/v1/namespaces/a", ""},
		{http.MethodPost, "/api/v1/namespaces", `{"metadata":{"name":"b"}}`},
		{http.MethodPost, "/apis/example.com/v1/namespaces/a/things", `{"metadata":{"name":"c"}}`},
		{http.MethodPut, "/apis/example.com/v1/clusterthings/d", `{}`},
		{http.MethodPatch, "/apis/example.com/v1/namespaces/a/things/c/status?fieldManager=x", `{"status":{}}`},
		{http.MethodDelete, "/api/v1/namespaces/a/pods/e", `{}`},
		{http.MethodPut, "/apis/coordination.k8s.io/v1/namespaces/a/leases/l", `{}`},
		{http.MethodPost, "/api/v1/namespaces/a/events", "not JSON"},
	} {
		require.NoError(t, send(t.Context(), request.method, request.path, request.body))
	}
	var writes []string
	for _, write := range tap.Writes() {
		writes = append(writes, write.String())
	}
	assert.Equal(t, []string{
		"create namespaces /b", "create things a/c", "update clusterthings /d", "patch things/status a/c", "delete pods a/e", "create events a/",
	}, writes)
	patch := tap.Writes()[3]
	assert.JSONEq(t, `{"status":{}}`, string(patch.Body))
	assert.Equal(t, http.StatusConflict, patch.Status)
}

func TestHoldHoldsBackWhatMatchesUntilItIsDecided(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		decide func(*Hold, context.CancelFunc)
		want   error
		sent   int32
	}{
		"released":               {func(h *Hold, _ context.CancelFunc) { h.Release() }, nil, 2},
		"dropped":                {func(h *Hold, _ context.CancelFunc) { h.Drop(broken) }, broken, 1},
		"dropped, then released": {func(h *Hold, _ context.CancelFunc) { h.Drop(broken); h.Release() }, broken, 1},
		"given up by the client": {func(_ *Hold, cancel context.CancelFunc) { cancel() }, context.Canceled, 1},
	} {
		t.Run(name, func(t *testing.T) {
			tap, send, count := served(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			hold := tap.Hold(t, func(r Request) bool { return r.Name == "held" })
			result := make(chan error, 1)
			go func() { result <- send(ctx, http.MethodPatch, "/api/v1/namespaces/a/pods/held", `{}`) }()
			assert.Equal(t, "patch pods a/held", hold.Await(t).String())
			require.NoError(t, send(t.Context(), http.MethodPatch, "/api/v1/namespaces/a/pods/other", `{}`))
			assert.EqualValues(t, 1, count.Load(), "only the other one is sent")

			test.decide(hold, cancel)
			require.ErrorIs(t, <-result, test.want)
			assert.Equal(t, test.sent, count.Load())
			assert.Equal(t, test.sent == 2, slices.ContainsFunc(tap.Writes(), func(r Request) bool { return r.Name == "held" }))
			hold.Release()
			require.NoError(t, send(t.Context(), http.MethodPatch, "/api/v1/namespaces/a/pods/held", `{}`), "it is over")
		})
	}
}
