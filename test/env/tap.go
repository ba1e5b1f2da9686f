package env

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// Tap sits between a client and its API server. A test reads there what the client writes, and holds requests back, so
// that something else happens first.
//
//	tap := &env.Tap{}
//	go agent.Start(ctx, tap.Into(config), …)
//	claim := tap.Hold(t, func(r env.Request) bool { return r.Resource == "remoteworkflows/status" })
//	claim.Await(t)
//	…
//	claim.Release()
type Tap struct {
	mu     sync.Mutex
	writes []Request
	holds  []*Hold
}

// Request is one to an API server.
type Request struct {
	// Verb is create, update, patch or delete, or get for whatever only reads.
	Verb string
	// Resource is the plural of the kind, with "/status" where it is that subresource.
	Resource, Namespace, Name string
	Body                      []byte
	// Status is that of the answer, 0 while there is none.
	Status int
}

// String returns "<verb> <resource> <namespace>/<name>".
func (r Request) String() string {
	return fmt.Sprintf("%s %s %s/%s", r.Verb, r.Resource, r.Namespace, r.Name)
}

// Into returns the same access, through the tap.
func (t *Tap) Into(config *rest.Config) *rest.Config {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &tapped{tap: t, next: next} })
	return config
}

// Writes returns the requests so far that were to change something and have been answered, but for those for Leases and for scores of
// clusters, which are due at fixed times.
func (t *Tap) Writes() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Clone(t.writes)
}

// Hold holds back requests from now on, until it is released, or the test ends.
func (t *Tap) Hold(tb testing.TB, match func(Request) bool) *Hold {
	tb.Helper()
	hold := &Hold{match: match, arrived: make(chan Request, 1), verdict: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holds = append(t.holds, hold)
	tb.Cleanup(hold.Release)
	return hold
}

func (t *Tap) holding(r Request) *Hold {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.holds = slices.DeleteFunc(t.holds, (*Hold).isOver)
	for _, hold := range t.holds {
		if hold.match(r) {
			return hold
		}
	}
	return nil
}

func (t *Tap) record(r Request) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.Verb != verbGet && r.Resource != "leases" && r.Resource != "addonplacementscores/status" {
		t.writes = append(t.writes, r)
	}
}

// Hold holds back certain requests of a client.
type Hold struct {
	match   func(Request) bool
	arrived chan Request
	verdict chan struct{}
	once    sync.Once
	err     error
}

// holdTimeout is how long a test waits for a request that is to come: long enough for a busy machine.
const holdTimeout = time.Minute

// Await waits until a request is held back, and returns it. It has not reached the API server.
func (h *Hold) Await(tb testing.TB) Request {
	tb.Helper()
	select {
	case r := <-h.arrived:
		return r
	case <-time.After(holdTimeout):
		tb.Fatal("the request to hold back has not come")
		return Request{}
	}
}

// Release sends what is held back on its way; nothing is held back any more.
func (h *Hold) Release() { h.Drop(nil) }

// Drop answers what is held back with an error, as a connection that breaks before the request is sent; nothing is held
// back any more.
func (h *Hold) Drop(err error) {
	h.once.Do(func() {
		h.err = err
		close(h.verdict)
	})
}

func (h *Hold) isOver() bool {
	select {
	case <-h.verdict:
		return true
	default:
		return false
	}
}

func (h *Hold) wait(ctx context.Context, r Request) error {
	select {
	case h.arrived <- r:
	default: // it is not the first one
	}
	select {
	case <-h.verdict:
		return h.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

type tapped struct {
	tap  *Tap
	next http.RoundTripper
}

// WrappedRoundTripper lets others find the transport that has the connections.
func (t *tapped) WrappedRoundTripper() http.RoundTripper { return t.next }

// RoundTrip implements http.RoundTripper.
func (t *tapped) RoundTrip(req *http.Request) (*http.Response, error) {
	r, err := readRequest(req)
	if err != nil {
		return nil, err
	}
	if hold := t.tap.holding(r); hold != nil {
		if err := hold.wait(req.Context(), r); err != nil {
			return nil, err
		}
	}
	response, err := t.next.RoundTrip(req)
	if err == nil {
		r.Status = response.StatusCode
		t.tap.record(r)
	}
	return response, err
}

const verbGet = "get"

var verbs = map[string]string{
	http.MethodPost: "create", http.MethodPut: "update", http.MethodPatch: "patch", http.MethodDelete: "delete",
}

func readRequest(req *http.Request) (Request, error) {
	r := Request{Verb: verbs[req.Method]}
	if r.Verb == "" {
		r.Verb = verbGet
	}
	// /api/<version>/… or /apis/<group>/<version>/…, and there [namespaces/<namespace>/]<resource>[/<name>[/<subresource>]].
	path := strings.Split(strings.Trim(req.URL.Path, "/"), "/")
	skip := 2
	if path[0] == "apis" {
		skip = 3
	}
	path = path[min(skip, len(path)):]
	if len(path) > 2 && path[0] == "namespaces" {
		r.Namespace, path = path[1], path[2:]
	}
	for i, into := range []*string{&r.Resource, &r.Name} {
		if i < len(path) {
			*into = path[i]
		}
	}
	if len(path) > 2 {
		r.Resource += "/" + path[2]
	}
	if r.Verb == verbGet || req.Body == nil {
		return r, nil
	}
	if req.GetBody == nil {
		return r, errors.New("the body can be read only once")
	}
	body, err := req.GetBody()
	if err != nil {
		return r, err
	}
	r.Body, err = io.ReadAll(body)
	if r.Name == "" {
		r.Name = nameIn(r.Body)
	}
	return r, errors.Join(err, body.Close())
}

// nameIn returns the name of an object that is to be created, "" if it has none or is not in JSON.
func nameIn(body []byte) string {
	var object struct {
		Metadata struct{ Name string }
	}
	if err := json.Unmarshal(body, &object); err != nil {
		return ""
	}
	return object.Metadata.Name
}
