package uninstall

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func assigned(mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow("hello", append([]gen.Mod{gen.WithAssignment(cluster)}, mods...)...)
}

func TestTheStatusOfAWorkflowWhoseAttemptMayHaveStarted(t *testing.T) {
	const start = "the manager was uninstalled: "
	const goesOn = start + "the run goes on as default/hello on cluster cluster1, and is not reported any more"
	remoteDeleted := func(reason string) gen.Mod {
		return gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionTrue, reason, "")
	}
	running := gen.WithHubStatus("Running", map[string]any{"progress": "1/2", "message": "mine"})
	for name, test := range map[string]struct {
		wf          *unstructured.Unstructured
		rw          []gen.Mod
		withoutArgo bool
		want        map[string]any
	}{
		"it runs": {assigned(running), nil, false, map[string]any{"phase": "Running", "progress": "1/2", "message": goesOn}},
		"the agent has left it": {assigned(running), []gen.Mod{remoteDeleted(v1alpha1.ReasonLeft)}, false,
			map[string]any{"phase": "Running", "progress": "1/2", "message": goesOn}},
		"Argo goes, too": {assigned(running), nil, true, map[string]any{"phase": "Running", "progress": "1/2",
			"message": goesOn + "; Argo is uninstalled there, too, and an unfinished run waits for another Argo controller"}},
		"it was not reported: nobody is to take it for one that has not run": {assigned(gen.WithHubStatus("Pending")), nil, false,
			map[string]any{"phase": "Running", "message": goesOn}},
		"it has no status yet": {assigned(), nil, false, map[string]any{"phase": "Running", "message": goesOn}},
		"it is gone from its cluster": {assigned(running), []gen.Mod{remoteDeleted(v1alpha1.ReasonVanishedUnfinished)}, false,
			map[string]any{"phase": "Error", "progress": "1/2",
				"message": start + "the run is gone from cluster cluster1, and its end was not reported"}},
		"it is terminated": {assigned(running), []gen.Mod{removal(v1alpha1.RemovalTerminate), remoteDeleted(v1alpha1.ReasonRemoved)}, true,
			map[string]any{"phase": "Running", "progress": "1/2",
				"message": start + "the run is terminated on cluster cluster1, and its end is not reported"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := test.wf.DeepCopy()
			u := &uninstaller{enabled: map[client.ObjectKey]bool{{Namespace: cluster, Name: contract.ArgoAddonName}: test.withoutArgo}}
			assert.Equal(t, test.want, u.statusAfter(hubworkflow.Of(test.wf), gen.RemoteWorkflow(test.wf, cluster, test.rw...)))
			assert.Equal(t, before, test.wf, "what was read must not change")
		})
	}
}

func TestHowAWorkflowIsLeftWithoutAnAttempt(t *testing.T) {
	withoutFinalizer := func(obj client.Object) { obj.SetFinalizers(nil) }
	withdrawn := gen.WithLabels(map[string]string{contract.LabelEnable: "false"})
	withoutStatus := func(obj client.Object) { delete(obj.(*unstructured.Unstructured).Object, "status") }
	for name, test := range map[string]struct {
		wf              *unstructured.Unstructured
		waits, assigned bool
	}{
		"never assigned":                                 {gen.Workflow("hello"), true, false},
		"never assigned, with the finalizer":             {gen.Workflow("hello", gen.WithFinalizers(contract.FinalizerDispatch)), true, false},
		"assigned, and not sent":                         {assigned(), true, false},
		"assigned in the name of another":                {assigned(gen.WithUID("another")), true, false},
		"its attempt is forgotten":                       {assigned(withoutFinalizer), false, true},
		"it has run":                                     {assigned(gen.WithHubStatus("Running")), false, true},
		"it has run, and somebody has erased its status": {assigned(gen.WithHubStatus("Running"), withoutStatus), false, true},
		"it has finished":                                {assigned(gen.WithHubStatus("Succeeded")), false, true},
		"somebody else has written a status":             {assigned(gen.WithStatus("Pending")), false, false},
		"it was taken from the project":                  {assigned(withdrawn), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			u, hub, _ := newUninstaller(t, test.wf)
			require.NoError(t, leaves(t, u))
			require.True(t, hub.Show(test.wf))
			assert.Empty(t, test.wf.GetFinalizers())
			assert.Equal(t, test.assigned, contract.AssignedCluster(test.wf) != "")
			message := contract.StatusString(contract.Status(test.wf), "message")
			assert.Equal(t, test.waits, strings.Contains(message, "has not started, and waits until there is a manager again"), message)
		})
	}
}

func TestADeletedWorkflowThatHasNotStartedGoes(t *testing.T) {
	wf := assigned(gen.Deleting())
	u, hub, _ := newUninstaller(t, wf)
	require.NoError(t, leaves(t, u))
	assertGone(t, hub, wf)
}
