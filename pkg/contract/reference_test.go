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
		Cluster:        "cluster1",
		RemoteWorkflow: rw.Name,
		HubID:          gen.HubID,
		Namespace:      "team-a",
		Name:           "hello",
		UID:            wf.GetUID(),
		Attempt:        3,
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
