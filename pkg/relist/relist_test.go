package relist_test

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/url"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/relist"
)

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }

// send sends a request through a transport that gives this answer, and returns the answer that comes of it.
func send(ctx context.Context, t *testing.T, query string, response *http.Response, err error) (answer any, _ error) {
	t.Helper()
	config := &rest.Config{}
	relist.AfterOutage(config)
	request, newErr := http.NewRequestWithContext(ctx, http.MethodGet, "https://hub/api/v1/namespaces?"+query, http.NoBody)
	require.NoError(t, newErr)
	transport := config.WrapTransport(roundTripper(func(*http.Request) (*http.Response, error) { return response, err }))
	got, err := transport.RoundTrip(request)
	if got != nil {
		require.NoError(t, got.Body.Close())
	}
	return got, err
}

func TestAWatchThatCouldNotBeStartedIsNotResumed(t *testing.T) {
	for name, broken := range map[string]error{
		"the connection is refused": &url.Error{Op: "Get", Err: syscall.ECONNREFUSED},
		"the connection is closed":  io.EOF,
		"the connection is reset":   &url.Error{Op: "Get", Err: syscall.ECONNRESET},
		"the stream is reset":       errors.New("read tcp: connection reset by peer"),
		"nobody answers in time":    &url.Error{Op: "Get", Err: context.DeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := send(t.Context(), t, "watch=true&resourceVersion=7", nil, broken)
			require.Error(t, err)
			// What http.Client makes of it. These are the errors after which client-go resumes a watch.
			err = &url.Error{Op: "Get", URL: "https://hub", Err: err}
			assert.False(t, utilnet.IsConnectionRefused(err))
			assert.False(t, utilnet.IsConnectionReset(err))
			assert.False(t, utilnet.IsProbableEOF(err))
			assert.False(t, utilnet.IsTimeout(err))
		})
	}
}

func TestWhatIsNoBrokenWatchIsLeftAsItIs(t *testing.T) {
	stopped, stop := context.WithCancel(t.Context())
	stop()
	for name, test := range map[string]struct {
		ctx      context.Context
		query    string
		response *http.Response
		err      error
	}{
		"a list that fails":           {t.Context(), "resourceVersion=7", nil, syscall.ECONNREFUSED},
		"a watch of a stranger":       {t.Context(), "watch=true", nil, x509.UnknownAuthorityError{}},
		"a watch that is stopped":     {stopped, "watch=true", nil, context.Canceled},
		"a watch that is answered":    {t.Context(), "watch=true", &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil},
		"a watch that is not allowed": {t.Context(), "watch=true", &http.Response{StatusCode: http.StatusForbidden, Body: http.NoBody}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := send(test.ctx, t, test.query, test.response, test.err)
			assert.Same(t, test.response, answer)
			assert.Equal(t, test.err, err)
		})
	}
}

func TestTheConnectionsBelowCanBeReached(t *testing.T) {
	config := &rest.Config{}
	relist.AfterOutage(config)
	below := &http.Transport{}
	wrapped, ok := config.WrapTransport(below).(utilnet.RoundTripperWrapper)
	require.True(t, ok)
	assert.Same(t, below, wrapped.WrappedRoundTripper())
}
