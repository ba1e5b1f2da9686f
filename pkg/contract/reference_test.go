package contract_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestACopyCarriesTheReferenceToItsRemoteWorkflow(t *testing.T) {
	wf := gen.Workflow("hello", gen.InNamespace("team-a"))
	rw := gen.RemoteWorkflow(wf, "cluster1", gen.WithAttempt(3))

	want := contract.Reference{
		Cluster:           "cluster1",
		RemoteWorkflow:    rw.Name,
		RemoteWorkflowUID: rw.UID,
		HubID:             gen.HubID,
		Namespace:         "team-a",
		Name:              "hello",
		UID:               wf.GetUID(),
		Attempt:           3,
	}
	assert.Equal(t, want, contract.ReferenceTo(rw))
	copied := gen.Copy(wf, rw)
	assert.Equal(t, want, contract.ReferenceOf(copied))
	assert.Subset(t, copied.GetAnnotations(), contract.AnnotationsTo(rw))

	bare := gen.Workflow("hello", gen.WithLabels(map[string]string{contract.LabelCluster: "cluster1"}))
	bare.SetAnnotations(contract.AnnotationsTo(rw))
	assert.Equal(t, want, contract.ReferenceOf(bare))
}

func TestReferenceOfAWorkflowThatIsNotACopyIsZero(t *testing.T) {
	assert.Zero(t, contract.ReferenceOf(contract.NewWorkflow()))
}

func TestAnAttemptThatDoesNotParseIsZero(t *testing.T) {
	for value, want := range map[string]int32{
		"1": 1, "2147483647": math.MaxInt32, "2147483648": 0, "99999999999999999999": 0, "-99999999999999999999": 0,
		"one": 0, "1.0": 0, "0x1": 0, "": 0,
	} {
		wf := gen.Workflow("hello", gen.WithAnnotations(map[string]string{contract.AnnotationAttempt: value}))
		assert.Equal(t, want, contract.ReferenceOf(wf).Attempt, "attempt %q", value)
	}
}

func TestTheSameAttemptMayHaveAnotherRemoteWorkflow(t *testing.T) {
	wf := gen.Workflow("hello")
	reference := contract.ReferenceTo(gen.RemoteWorkflow(wf, "cluster1"))
	madeAgain := contract.ReferenceTo(gen.RemoteWorkflow(wf, "cluster1", gen.WithUID("another")))
	assert.NotEqual(t, reference, madeAgain)
	assert.True(t, reference.SameAttempt(madeAgain))
	assert.True(t, reference.SameAttempt(reference))
	for name, other := range map[string]contract.Reference{
		"another attempt":    contract.ReferenceTo(gen.RemoteWorkflow(wf, "cluster1", gen.WithAttempt(2))),
		"another cluster":    contract.ReferenceTo(gen.RemoteWorkflow(wf, "cluster2")),
		"another Workflow":   contract.ReferenceTo(gen.RemoteWorkflow(gen.Workflow("hello", gen.WithUID("later")), "cluster1")),
		"no reference":       {},
		"one of another hub": func() contract.Reference { r := reference; r.HubID = "another"; return r }(),
	} {
		assert.False(t, reference.SameAttempt(other), name)
	}
}
