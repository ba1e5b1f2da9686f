package dispatch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	workv1 "open-cluster-management.io/api/work/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
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

// together lets the dispatch and the status package look at a Workflow in turns, and returns the last error of the dispatch.
func together(t *testing.T, r *Reconciler, wf *unstructured.Unstructured, rounds int) (err error) {
	t.Helper()
	statuses := &status.Reconciler{Client: r.Client, Live: r.Live, Recorder: r.Recorder}
	for range rounds {
		err = run(t, r, wf)
		_, statusErr := statuses.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(wf)})
		require.NoError(t, statusErr)
	}
	return err
}

func TestTheDispatchAloneSpeaksOfAWorkflowThatTheHubDoesNotLetGo(t *testing.T) {
	notStarted := gen.WithCondition(v1alpha1.ConditionStarted, metav1.ConditionFalse, v1alpha1.ReasonNotOurs, "the name is taken")
	for name, test := range map[string]struct {
		rw    gen.Mod
		addon []client.Object
	}{
		"its cluster runs no agent":   {gen.WithReporting(v1alpha1.ReportingFeedback), nil},
		"its agent is not there":      {gen.WithReporting(v1alpha1.ReportingAgent), nil},
		"its agent does not start it": {notStarted, []client.Object{gen.ManagedClusterAddOn(cluster)}},
	} {
		t.Run(name, func(t *testing.T) {
			wf, rw, _ := dispatched()
			test.rw(rw)
			r, hub := newReconciler(t, append(test.addon, gen.ManagedCluster(cluster), wf, rw)...)
			hub.Fail("create ManifestWork", apierrors.NewForbidden(workv1.Resource("manifestworks"), rw.Name, errors.New("exceeded quota")))
			assert.True(t, apierrors.IsForbidden(together(t, r, wf, 3)), "it is tried again")
			assert.Equal(t, 1, hub.Calls("patch Workflow"))
			assert.Len(t, hub.Events(), 1)
			require.True(t, hub.Show(wf))
			assert.Contains(t, contract.Status(wf)["message"], "the hub refuses it")

			hub.Fail("create ManifestWork", nil)
			require.NoError(t, together(t, r, wf, 2))
			runOf(t, hub, wf)
			require.True(t, hub.Show(wf))
			assert.NotContains(t, contract.Status(wf)["message"], "the hub refuses it")
		})
	}
}

func TestAPhaseThatAUserWroteBeforeTheFirstReportIsReplacedAndTheWorkflowSent(t *testing.T) {
	for name, forged := range map[string][]gen.Mod{
		"it has succeeded":    {gen.WithHubStatus("Pending"), gen.WithStatus("Succeeded")},
		"it runs":             {gen.WithStatus("Running")},
		"its label says that": {gen.WithHubStatus("Pending"), gen.WithLabels(map[string]string{contract.LabelCompleted: "true"})},
	} {
		for _, reporting := range []v1alpha1.Reporting{v1alpha1.ReportingAgent, v1alpha1.ReportingFeedback} {
			t.Run(name+", "+string(reporting), func(t *testing.T) {
				wf, rw, _ := dispatched(forged...)
				rw.Spec.Reporting = reporting
				r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
				require.NoError(t, together(t, r, wf, 3))
				runOf(t, hub, wf)
				require.True(t, hub.Show(wf))
				assert.Equal(t, "Pending", contract.Phase(wf))
				assert.False(t, hubcopy.IsForeign(wf))
				assert.Nil(t, rw.DeletionTimestamp)
				before := len(hub.Writes())
				require.NoError(t, together(t, r, wf, 1))
				assert.Len(t, hub.Writes(), before, "they come to rest")
			})
		}
	}
}

func TestARunWhoseStatusAUserChangedIsNotSentAgain(t *testing.T) {
	for name, changed := range map[string]gen.Mod{"erased": withStatus(nil), "edited": gen.WithStatus("Pending")} {
		for reporting, uid := range map[v1alpha1.Reporting]string{v1alpha1.ReportingAgent: "remote", v1alpha1.ReportingFeedback: ""} {
			t.Run(name+", "+string(reporting), func(t *testing.T) {
				wf, rw, _ := dispatched(gen.WithHubStatus("Running"), changed)
				rw.Spec.Reporting = reporting
				gen.WithRemoteUID(types.UID(uid))(rw)
				r, hub := newReconciler(t, append(surroundings(), wf, rw)...)
				require.NoError(t, together(t, r, wf, 3))
				assert.Zero(t, hub.Calls("create ManifestWork")+hub.Calls("delete RemoteWorkflow"))
				before := len(hub.Writes())
				require.NoError(t, together(t, r, wf, 1))
				assert.Len(t, hub.Writes(), before, "they come to rest")
			})
		}
	}
}
