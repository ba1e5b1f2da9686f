package integration

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// specHas returns an error unless the fields of the remote Workflow's spec have these values; nil is none.
func (r *run) specHas(want map[string]any) error {
	wf, err := r.get(r.cluster)
	if err != nil {
		return err
	}
	spec, _ := wf.Object["spec"].(map[string]any)
	for field, value := range want {
		if !reflect.DeepEqual(spec[field], value) {
			return fmt.Errorf("spec.%s is %v, not %v", field, spec[field], value)
		}
	}
	return nil
}

// Not parallel: the agent is stopped.
func TestWhatTheUserWantsOfTheRunReachesTheClusterAsJustThatChange(t *testing.T) {
	s := newSpace(t)
	r := s.create("controlled", cluster1)
	r.starts()
	r.runsOn()
	uid := r.must(cluster1).GetUID()

	r.edit(theHub, `{"spec":{"suspend":true}}`)
	eventually(t, func() error { return r.specHas(map[string]any{"suspend": true}) })
	r.edit(cluster1, `{"spec":{"suspend":null}}`)
	r.edit(theHub, `{"spec":{"priority":5,"activeDeadlineSeconds":600}}`)
	eventually(t, func() error {
		return r.specHas(map[string]any{"priority": int64(5), "activeDeadlineSeconds": int64(600), "suspend": nil})
	})

	t.Cleanup(func() { assert.NoError(t, agent1.start()) })
	require.NoError(t, agent1.stop())
	r.edit(theHub, `{"spec":{"shutdown":"Stop","priority":null}}`)
	require.NoError(t, agent1.start())
	eventually(t, func() error {
		return r.specHas(map[string]any{"shutdown": "Stop", "priority": nil, "activeDeadlineSeconds": int64(600), "suspend": nil})
	})
	r.edit(theHub, `{"spec":{"shutdown":null}}`)
	r.runsOn()
	require.NoError(t, r.specHas(map[string]any{"shutdown": "Stop"}))
	assert.Equal(t, uid, r.must(cluster1).GetUID())
	r.succeeds()
	r.isGone()
}
