package dispatch

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/placement"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/status"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// Each write wakes all reconcilers: two that do not agree on a message would take turns for ever.
func TestTheReconcilersAgreeOnWhyAWorkflowIsHeld(t *testing.T) {
	nowhere := gen.WithPlacement("nowhere")
	fromBefore := func(obj client.Object) { obj.SetCreationTimestamp(metav1.NewTime(gen.Time.Add(-time.Hour))) }
	longName := strings.Repeat("x", 64)
	for name, wf := range map[string]*unstructured.Unstructured{
		"it has no target":                      gen.Workflow("hello"),
		"its Placement is missing":              gen.Workflow("hello", nowhere),
		"its name is too long":                  gen.Workflow(longName),
		"and its Placement is missing":          gen.Workflow(longName, nowhere),
		"its label is wrong":                    gen.Workflow("hello", nowhere, gen.WithLabels(map[string]string{contract.LabelEnable: "yes"})),
		"somebody else wrote its status":        gen.Workflow("hello", nowhere, gen.WithStatus("Running")),
		"it has run, and lost its status":       gen.Workflow("hello", nowhere, gen.WithHubStatus("Succeeded"), withStatus(nil)),
		"it may have run before a restoration":  gen.Workflow("hello", nowhere, fromBefore),
		"and has no target":                     gen.Workflow("hello", fromBefore),
		"its cluster is not bound":              gen.Workflow("hello", nowhere, gen.WithCluster(cluster)),
		"the cluster it was given is not bound": gen.Workflow("hello", nowhere, gen.WithAssignment(cluster)),
	} {
		t.Run(name, func(t *testing.T) {
			if created := wf.GetCreationTimestamp(); created.IsZero() {
				wf.SetCreationTimestamp(gen.Time)
			}
			r, hub := newReconciler(t, wf, gen.ManagedCluster(cluster))
			r.RestoredAt = gen.Time.Time
			reconcilers := []reconcile.Reconciler{
				r, &placement.Reconciler{Client: hub, Recorder: hub.Recorder, RestoredAt: gen.Time.Time}, &status.Reconciler{Client: hub, Recorder: hub.Recorder},
			}
			for range 3 {
				for _, reconciler := range reconcilers {
					_, err := reconciler.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
					require.NoError(t, err)
				}
			}
			assert.Len(t, hub.Writes(), 1)
			assert.Len(t, hub.Events(), 1)
		})
	}
}
