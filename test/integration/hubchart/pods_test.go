package hubchart

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

// TestTheManagerMayChangeNothingOfAPodButItsGates: with the right to patch pods it could run any image as any ServiceAccount.
func TestTheManagerMayChangeNothingOfAPodButItsGates(t *testing.T) {
	refused := &refusals{}
	manages, err := client.New(refused.of(t, userOf(manager)), client.Options{Scheme: admin.Scheme()})
	require.NoError(t, err)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: team, Name: "agent"},
		Spec: corev1.PodSpec{
			Containers:      []corev1.Container{{Name: "main", Image: "one"}},
			SchedulingGates: []corev1.PodSchedulingGate{{Name: contract.GateSteps}},
		},
	}
	require.NoError(t, eventually(t.Context(), func() error { // the namespace's ServiceAccount is somebody else's to make
		err := admin.Create(t.Context(), pod)
		return client.IgnoreAlreadyExists(err)
	}))
	for name, change := range map[string]func(*corev1.Pod){
		"its image":   func(p *corev1.Pod) { p.Spec.Containers[0].Image = "two" },
		"its labels":  func(p *corev1.Pod) { p.Labels = map[string]string{"app": "theirs"} },
		"annotations": func(p *corev1.Pod) { p.Annotations = map[string]string{"a": "b"} },
	} {
		changed := pod.DeepCopy()
		change(changed)
		err := manages.Patch(t.Context(), changed, client.MergeFrom(pod))
		require.True(t, apierrors.IsForbidden(err), "%s: %v", name, err)
		require.ErrorContains(t, err, "may change nothing of a pod but its scheduling gates", name)
	}
	lifted := pod.DeepCopy()
	lifted.Spec.SchedulingGates = nil
	require.NoError(t, manages.Patch(t.Context(), lifted, client.MergeFrom(pod)))
}
