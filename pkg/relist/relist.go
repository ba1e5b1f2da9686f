// Package relist makes clients list anew what they watch when their API server has been away.
//
// Left alone, they go on watching from the last resourceVersion that they have seen. An API server that was restored from a
// backup meanwhile is behind that version: it accepts the watch, and sends nothing until it has got as far again. When they
// list, it says that it is behind, and they take what it has.
//
// Each kind is listed on its own, within a minute. Who concludes from several kinds, as the manager on the hub does, is restarted
// after a restore: until then one cache may show what another does not have any more.
package relist

import (
	"errors"
	"net/http"

	"k8s.io/client-go/rest"
)

// errAway is opaque on purpose: of a refused connection, a timeout or a broken stream client-go thinks that nothing was missed.
var errAway = errors.New("the API server is away: what is watched is listed anew when it is back")

// AfterOutage makes the clients with this access list anew what they watch after a watch could not be started.
func AfterOutage(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return watchful{next} })
}

type watchful struct{ next http.RoundTripper }

// RoundTrip sends the request. Whatever error there is instead of an answer to a watch, it returns errAway.
func (w watchful) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	if err != nil && request.Context().Err() == nil && request.URL.Query().Get("watch") == "true" {
		return nil, errAway
	}
	return response, err
}

// WrappedRoundTripper is how client-go gets at the connections, to close them.
func (w watchful) WrappedRoundTripper() http.RoundTripper { return w.next }
