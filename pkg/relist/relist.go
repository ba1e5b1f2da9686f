// Package relist makes clients list anew what they watch when their API server has been away.
//
// Left alone, they go on watching from the last resourceVersion that they have seen. An API server that was restored from a
// backup meanwhile is behind that version: it accepts the watch, and sends nothing until it has got as far again. When they
// list, it says that it is behind, and they take what it has. The price is such a list of everything after each outage. A backup that is
// restored with a higher resourceVersion (etcd's --bump-revision) needs none of this, but nothing says whether that was remembered.
//
// Each kind is listed on its own, within a minute. Who concludes from several kinds, as the manager on the hub does, is restarted
// after a restore: until then one cache may show what another does not have any more.
package relist

import (
	"errors"
	"net/http"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// errAway is opaque on purpose, and does not even quote: client-go looks for what it replaces in the text, too.
var errAway = errors.New("the API server is away: what is watched is listed anew when it is back")

// AfterOutage makes the clients with this access list anew what they watch after a watch could not be started.
func AfterOutage(config *rest.Config) {
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return watchful{next} })
}

type watchful struct{ next http.RoundTripper }

// RoundTrip sends the request. An error after which client-go would resume the watch it replaces by errAway.
func (w watchful) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := w.next.RoundTrip(request)
	if err != nil && request.Context().Err() == nil && request.URL.Query().Get("watch") == "true" && resumes(err) {
		return nil, errAway
	}
	return response, err
}

// resumes reports whether client-go thinks that nothing was missed: of a refused or reset connection, a timeout, a broken stream.
func resumes(err error) bool {
	return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || utilnet.IsTimeout(err)
}

// WrappedRoundTripper is how client-go gets at the connections, to close them.
func (w watchful) WrappedRoundTripper() http.RoundTripper { return w.next }
