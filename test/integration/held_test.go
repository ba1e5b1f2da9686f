package integration

import (
	"testing"

	"github.com/stretchr/testify/assert"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestWorkflowThatABackupToolRestoresOnTheHubIsHeldUntilItIsCreatedAnew(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	// As Velero does it: with the labels and annotations of what has run, under a new UID, without its status.
	backedUp := gen.Workflow("restored", gen.WithUID("the-former"), gen.WithAssignment("cluster1"), gen.WithHubStatus("Succeeded"))
	labels := backedUp.GetLabels()
	r := s.create("restored", cluster1, gen.WithLabels(labels), gen.WithAnnotations(backedUp.GetAnnotations()))
	r.waitFor("", "by its labels")
	s.create("afterwards", cluster1).runs()
	assert.Equal(t, labels, r.must(theHub).GetLabels())
	_, err := r.remoteWorkflow()
	assert.True(t, apierrors.IsNotFound(err), "got %v", err)

	anew := s.create("anew", cluster1, gen.WithAnnotations(r.must(theHub).GetAnnotations()))
	anew.runs()
	assert.Equal(t, "Succeeded", contract.Phase(anew.must(theHub)))
	anew.isGone()
	r.isGone()
}
