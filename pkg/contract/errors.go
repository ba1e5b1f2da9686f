package contract

import (
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// IsRefused reports whether an API server will not take a write however often it is tried: an admission policy, a webhook, a quota, a limit
// of size. A webhook that gives no code refuses as a bad request.
func IsRefused(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || IsTooLarge(err)
}

// IsTooLarge reports whether the API server, or etcd behind it, or the way there, refused an object for its size. What the latter two say
// is passed on as an internal error.
func IsTooLarge(err error) bool {
	return err != nil && (apierrors.IsRequestEntityTooLargeError(err) ||
		strings.Contains(err.Error(), "request is too large") ||
		strings.Contains(err.Error(), "message larger than max"))
}

// IsAbsent reports whether the error is an API server's word that there is no such object. The 404 of one that does not serve the kind at
// all says nothing about the object.
func IsAbsent(err error) bool {
	return apierrors.IsNotFound(err) && !apierrors.IsUnexpectedServerError(err)
}
