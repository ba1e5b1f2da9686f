package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"testing"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/report"
	"open-cluster-management.io/argo-workflow-multicluster/test/env"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// specIs returns an error unless the hub Workflow has this spec, in whatever form, and nobody is asked for it any more.
func (r *run) specIs(want map[string]any) error {
	wf, err := r.get(theHub)
	if err != nil {
		return err
	}
	rw, err := r.remoteWorkflow()
	if err != nil {
		return err
	}
	spec, _ := wf.Object["spec"].(map[string]any)
	switch is, wanted := report.NormalSpec(spec), report.NormalSpec(want); {
	case !reflect.DeepEqual(is, wanted):
		return fmt.Errorf("the hub's spec is %v, not %v", is, wanted)
	case rw.Spec.WantSpec, rw.Status.Spec != nil:
		return errors.New("the spec is still asked for, or reported")
	}
	return nil
}

func specOf(r *run) map[string]any {
	return runtime.DeepCopyJSON(r.must(theHub).Object["spec"].(map[string]any))
}

func TestAnEditOfTheSpecThatIsNoVerbIsUndoneAndTheRunIsUnharmed(t *testing.T) {
	s := newSpace(t)
	r := s.create("edited-spec", cluster1)
	r.starts()
	r.runsOn()
	r.waitUntilMirrored()
	sent, running := specOf(r), r.must(cluster1)
	for _, edit := range []string{
		`{"spec":{"entrypoint":"other","parallelism":1}}`,
		`{"spec":{"templates":[]}}`,
		`{"spec":{"templates":[{"name":"main","container":{"image":"evil"}}],"podMetadata":{"labels":{"a":"b"}}}}`,
	} {
		before := r.written()
		r.edit(theHub, edit)
		eventually(t, func() error { return r.specIs(sent) })
		r.waitForEvent("SpecRestored", "what was changed in it has no effect")
		labtest.Holds(t, time.Second, func() error {
			// It is asked for and answered, restored, and asked for and answered no more.
			if after := r.written(); after != (written{hub: before.hub + 5, managed: before.managed}) {
				return fmt.Errorf("%+v after %+v", after, before)
			}
			return nil
		})
	}
	assert.Equal(t, running.GetResourceVersion(), r.must(cluster1).GetResourceVersion())
	r.edit(theHub, `{"spec":{"entrypoint":"other","suspend":true,"priority":7}}`)
	eventually(t, func() error {
		return errors.Join(r.specIs(sent), r.specHas(map[string]any{"suspend": true, "priority": int64(7)}))
	})
	assert.Equal(t, true, r.must(theHub).Object["spec"].(map[string]any)["suspend"], "a verb is none of that")
	r.edit(theHub, `{"spec":{"suspend":null}}`)
	r.succeeds()
	r.edit(theHub, `{"spec":{"entrypoint":"other"}}`)
	eventually(t, func() error { return r.specIs(sent) })
	assert.Len(t, s.seen[cluster1].open("edited-spec"), 1)
	r.isGone()
}

func TestWhatAClientOfArgoDropsOfTheSpecComesBackAndTheArgumentsOfARetryStay(t *testing.T) {
	s := newSpace(t)
	wf := gen.Workflow("dropped", gen.InNamespace(s.name), gen.WithCluster("cluster1"), gen.WithSpecField("kept", "ofTheFuture"),
		gen.WithSpecField([]any{map[string]any{"name": "n", "value": "1"}}, "arguments", "parameters"))
	r := s.createOnHub(cluster1, wf)
	r.starts()
	r.argo.write(r, failedStatus())
	r.waitUntilMirrored()
	r.waitUntilReleased()
	sent := specOf(r)
	r.puts(func(wf *wfv1.Workflow) {
		retries(wf)
		wf.Spec.Arguments.Parameters = []wfv1.Parameter{{Name: "n", Value: wfv1.AnyStringPtr("2")}}
	})
	eventually(t, func() error { return errors.Join(r.nodeIs("main", ""), r.specIs(sent)) })
	for _, on := range []*cluster{theHub, cluster1} {
		spec := r.must(on).Object["spec"].(map[string]any)
		raw, err := json.Marshal(contract.Arguments(spec))
		require.NoError(t, err)
		assert.JSONEq(t, `[{"name":"n","value":"2"}]`, string(raw))
		assert.Equal(t, "kept", spec["ofTheFuture"])
	}
	require.Error(t, r.hasEvent("SpecRestored"), "a client that does not know a field is no user's mistake")
	r.succeeds()
	r.isGone()
}

// Not parallel: the agent is stopped.
func TestASpecThatItsClusterDoesNotHaveAnyMoreStaysEditedAndThatIsSaidOnce(t *testing.T) {
	s := newSpace(t)
	r := s.create("pruned", cluster1)
	r.starts()
	r.runsOn()
	r.waitUntilMirrored()
	sent := specOf(r)
	t.Cleanup(func() { assert.NoError(t, agent1.start()) })
	require.NoError(t, agent1.stop())
	r.edit(cluster1, `{"spec":{"priorityClassName":"defaults-of-the-cluster"}}`)
	r.edit(theHub, `{"spec":{"entrypoint":"other"}}`)
	eventually(t, func() error {
		if !r.mustRemoteWorkflow().Spec.WantSpec {
			return errors.New("nobody asks")
		}
		return nil
	})
	require.NoError(t, agent1.start())
	r.waitForEvent("EditRefused", "the cluster does not have the spec any more as it was sent")
	edited := runtime.DeepCopyJSON(sent)
	edited["entrypoint"] = "other"
	eventually(t, func() error { return r.specIs(edited) })
	becomesQuiet(t)
	assert.Contains(t, report.Condition(contract.Status(r.must(theHub)), report.ConditionEditRefused), "stays")
	r.edit(theHub, `{"spec":{"entrypoint":"`+sent["entrypoint"].(string)+`"}}`)
	eventually(t, func() error {
		if said := report.Condition(contract.Status(r.must(theHub)), report.ConditionEditRefused); said != "" {
			return errors.New(said)
		}
		return r.specIs(sent)
	})
	r.isGone()
}

func TestASpecThatIsEditedBeforeItIsDeliveredIsTheOneThatRuns(t *testing.T) {
	s := newSpace(t)
	delivery := theManager.tap.Hold(t, func(request env.Request) bool {
		return request.Verb == "create" && request.Resource == "remoteworkflows"
	})
	r := s.create("edited-early", cluster1)
	delivery.Await(t)
	r.edit(theHub, `{"spec":{"entrypoint":"edited","ofTheFuture":"edited"}}`)
	delivery.Release()
	r.starts()
	r.runsOn()
	r.waitUntilMirrored()
	assert.Equal(t, "edited", r.must(cluster1).Object["spec"].(map[string]any)["entrypoint"])
	require.NoError(t, r.specIs(r.must(cluster1).Object["spec"].(map[string]any)))
	r.succeeds()
	r.isGone()
}
