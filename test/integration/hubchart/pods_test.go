package hubchart

import (
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
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
			NodeSelector:    map[string]string{"disk": "ssd"},
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
		"finalizers":  func(p *corev1.Pod) { p.Finalizers = []string{"example.com/kept"} },
		"owners": func(p *corev1.Pod) {
			p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "other", UID: "other"}}
		},
		"its deadline": func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](1) },
		"tolerations": func(p *corev1.Pod) {
			p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Operator: corev1.TolerationOpExists})
		},
		"its node selector": func(p *corev1.Pod) { p.Spec.NodeSelector["zone"] = "a" },
		"its affinity": func(p *corev1.Pod) {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
				RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
					MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "gpu", Operator: corev1.NodeSelectorOpExists}},
				}}},
			}}
		},
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
