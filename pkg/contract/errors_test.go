package contract

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhatAnAPIServerSaysOfAWrite(t *testing.T) {
	resource := WorkflowGVR.GroupResource()
	type says struct{ refused, tooLarge, absent bool }
	for name, test := range map[string]struct {
		err  error
		want says
	}{
		"nothing":   {nil, says{}},
		"forbidden": {apierrors.NewForbidden(resource, "hello", errors.New("by a policy")), says{refused: true}},
		"invalid":   {apierrors.NewInvalid(WorkflowGVK.GroupKind(), "hello", nil), says{refused: true}},
		"bad":       {apierrors.NewBadRequest("no"), says{refused: true}},
		"denied by a webhook that gives no code": {&apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusBadRequest, Message: `admission webhook "costs.example.com" denied the request: no`,
		}}, says{refused: true}},
		"too large":          {apierrors.NewRequestEntityTooLargeError("limit is 3145728"), says{refused: true, tooLarge: true}},
		"too large for etcd": {apierrors.NewInternalError(errors.New("etcdserver: request is too large")), says{refused: true, tooLarge: true}},
		"too large for gRPC": {
			apierrors.NewInternalError(errors.New("trying to send message larger than max")), says{refused: true, tooLarge: true},
		},
		"stale": {apierrors.NewConflict(resource, "hello", errors.New("changed")), says{}},
		"gone":  {apierrors.NewNotFound(resource, "hello"), says{absent: true}},
		"of a kind that is not served": {
			apierrors.NewGenericServerResponse(http.StatusNotFound, "get", resource, "hello", "404 page not found", 0, true), says{},
		},
		"busy": {apierrors.NewTooManyRequests("later", 1), says{}},
		"down": {apierrors.NewInternalError(errors.New("down")), says{}},
	} {
		t.Run(name, func(t *testing.T) {
			err := test.err
			if err != nil {
				err = fmt.Errorf("patch: %w", err)
			}
			assert.Equal(t, test.want, says{IsRefused(err), IsTooLarge(err), IsAbsent(err)})
		})
	}
}
