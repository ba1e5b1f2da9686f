package uninstall

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	workv1 "open-cluster-management.io/api/work/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

const cluster = "cluster1"

func assigned(mods ...gen.Mod) *unstructured.Unstructured {
	return gen.Workflow("hello", append([]gen.Mod{gen.WithAssignment(cluster)}, mods...)...)
}

// applied is what the work agent says once it has applied this generation of a ManifestWork.
func applied(generation int64) gen.Mod {
	return func(obj client.Object) {
		gen.WithCondition(workv1.WorkApplied, metav1.ConditionTrue, "AppliedManifestWorkComplete", "")(obj)
		work := obj.(*workv1.ManifestWork)
		work.Status.Conditions[0].ObservedGeneration = generation
	}
}

func orphaned(obj client.Object) { orphan(obj.(*workv1.ManifestWork)) }

func fedBack(obj client.Object) {
	obj.(*workv1.ManifestWork).Spec.ManifestConfigs[0].FeedbackScrapeType = workv1.FeedbackWatchType
}

func TestACopyThatMayHaveStartedStays(t *testing.T) {
	recorded := gen.WithRemoteUID("remote")
	notAvailable := gen.WithCondition(workv1.WorkAvailable, metav1.ConditionFalse, "ResourcesNotAvailable", "")
	remoteDeleted := gen.WithCondition(v1alpha1.ConditionRemoteDeleted, metav1.ConditionTrue, v1alpha1.ReasonDeletedFinished, "")
	tests := map[string]struct {
		wf *unstructured.Unstructured
		// rw and work are nil for a run that lacks either.
		rw, work []gen.Mod
		want     fate
	}{
		"gated":                               {assigned(), []gen.Mod{}, []gen.Mod{applied(1)}, remove},
		"sent, and not seen by the cluster":   {assigned(), []gen.Mod{}, []gen.Mod{}, remove},
		"recorded":                            {assigned(), []gen.Mod{recorded}, []gen.Mod{applied(1)}, keep},
		"running":                             {assigned(gen.WithHubStatus("Running")), []gen.Mod{recorded}, []gen.Mod{applied(1)}, keep},
		"finished":                            {assigned(gen.WithHubStatus("Succeeded")), []gen.Mod{recorded}, []gen.Mod{applied(1)}, keep},
		"running, its ManifestWork is gone":   {assigned(gen.WithHubStatus("Running")), []gen.Mod{recorded}, nil, keep},
		"running, its RemoteWorkflow is lost": {assigned(gen.WithHubStatus("Running")), nil, []gen.Mod{applied(1)}, keep},
		"fed back as running, and nothing else": {
			assigned(),
			nil,
			[]gen.Mod{applied(1), gen.WithFeedback(map[string]string{"phase": "Running"})},
			keep,
		},
		"without an agent": {
			assigned(),
			[]gen.Mod{gen.WithReporting(v1alpha1.ReportingFeedback)},
			[]gen.Mod{fedBack, applied(1)},
			keep,
		},
		"without an agent, not seen there": {
			assigned(),
			[]gen.Mod{gen.WithReporting(v1alpha1.ReportingFeedback)},
			[]gen.Mod{fedBack},
			remove,
		},
		"let go before": {assigned(), []gen.Mod{}, []gen.Mod{orphaned}, keep},
		"let go before, and its Workflow is gone": {nil, nil, []gen.Mod{orphaned}, keep},
		"its Workflow is gone":                    {nil, []gen.Mod{recorded}, []gen.Mod{applied(1)}, remove},
		"its Workflow is being deleted": {
			assigned(gen.WithHubStatus("Running"), gen.Deleting()),
			[]gen.Mod{recorded},
			[]gen.Mod{applied(1)},
			remove,
		},
		"withdrawn": {
			assigned(gen.WithHubStatus("Running")),
			[]gen.Mod{recorded, gen.Deleting()},
			[]gen.Mod{applied(1)},
			remove,
		},
		"deleted there, says the agent": {assigned(gen.WithHubStatus("Succeeded")), []gen.Mod{recorded, remoteDeleted}, nil, remove},
		"not there, says the work agent": {
			assigned(gen.WithHubStatus("Succeeded")),
			[]gen.Mod{recorded},
			[]gen.Mod{applied(1), notAvailable},
			remove,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			r := &run{}
			rw := gen.RemoteWorkflow(assigned(), cluster, test.rw...)
			if test.rw != nil {
				r.rw = rw
			}
			if test.work != nil {
				r.work = gen.ManifestWork(rw, test.work...)
			}
			assert.Equal(t, test.want, decide(test.wf, r))
		})
	}
}

func TestACopyIsLetGoOnceTheWorkAgentHasAppliedThat(t *testing.T) {
	for name, test := range map[string]struct {
		mods []gen.Mod
		want bool
	}{
		"it is not told to":             {[]gen.Mod{applied(2)}, false},
		"it has not heard of it":        {[]gen.Mod{orphaned, applied(1)}, false},
		"it has never applied anything": {[]gen.Mod{orphaned}, false},
		"it could not": {[]gen.Mod{orphaned, applied(2),
			gen.WithCondition(workv1.WorkApplied, metav1.ConditionFalse, "AppliedManifestWorkFailed", "forbidden")}, false},
		"it has": {[]gen.Mod{orphaned, applied(2)}, true},
	} {
		t.Run(name, func(t *testing.T) {
			work := gen.ManifestWork(gen.RemoteWorkflow(assigned(), cluster), test.mods...)
			work.Generation = 2
			assert.Equal(t, test.want, isLetGo(work))
		})
	}
}

func TestAManifestWorkThatLetsGoIsNobodysAndNeverComplete(t *testing.T) {
	work := gen.ManifestWork(gen.RemoteWorkflow(assigned(), cluster))
	work.OwnerReferences = []metav1.OwnerReference{{Kind: "RemoteWorkflow"}}
	work.Spec.ManifestConfigs[0].ConditionRules = []workv1.ConditionRule{{Condition: workv1.WorkComplete}}
	before := work.DeepCopy()
	orphan(work)
	assert.Equal(t, workv1.DeletePropagationPolicyTypeOrphan, work.Spec.DeleteOption.PropagationPolicy)
	assert.Empty(t, work.OwnerReferences)
	assert.Empty(t, work.Spec.ManifestConfigs[0].ConditionRules)
	assert.Equal(t, before.Spec.ManifestConfigs[0].ResourceIdentifier, work.Spec.ManifestConfigs[0].ResourceIdentifier)
}

func TestHowAWorkflowIsLeft(t *testing.T) {
	rw := gen.RemoteWorkflow(assigned(), cluster, gen.WithRemoteUID("remote"))
	gated := &run{rw: gen.RemoteWorkflow(assigned(), cluster), fate: remove}
	for name, test := range map[string]struct {
		wf   *unstructured.Unstructured
		runs []*run
		want end
	}{
		"never sent":                           {assigned(), nil, unstarted},
		"gated":                                {assigned(), []*run{gated}, unstarted},
		"kept":                                 {assigned(), []*run{{rw: rw, fate: keep}}, goesOn},
		"one is kept of two":                   {assigned(), []*run{{rw: rw, fate: keep}, gated}, goesOn},
		"it may have run, and nothing is left": {assigned(), []*run{{rw: rw, fate: remove}}, gone},
		"parted before":                        {assigned(gen.WithHubStatus("Running")), nil, goesOn},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, endOf(test.wf, test.runs))
		})
	}
}

func TestWhatIsSaidOnAWorkflow(t *testing.T) {
	const goesOnThere = "the manager was uninstalled: the run goes on as default/hello on cluster cluster1, and is not reported any more"
	running := gen.WithHubStatus("Running", map[string]any{"progress": "1/2", "message": "mine"})
	for name, test := range map[string]struct {
		wf          *unstructured.Unstructured
		left        end
		withoutArgo bool
		want        map[string]any
	}{
		"it waits": {assigned(), unstarted, false, map[string]any{"phase": "Pending",
			"message": "the manager was uninstalled: the Workflow has not started, and waits until there is a manager again"}},
		"it runs": {assigned(running), goesOn, false, map[string]any{"phase": "Running", "progress": "1/2", "message": goesOnThere}},
		"it runs, and Argo goes": {assigned(running), goesOn, true, map[string]any{"phase": "Running", "progress": "1/2",
			"message": goesOnThere + "; Argo is uninstalled there, too, and an unfinished run waits for another Argo controller"}},
		"it may have started: nobody is to take it for one that has not": {assigned(gen.WithHubStatus("Pending")), goesOn, false,
			map[string]any{"phase": "Running", "message": goesOnThere}},
		"its run is gone": {assigned(running), gone, false, map[string]any{"phase": "Error", "progress": "1/2",
			"message": "the manager was uninstalled: the run is gone from cluster cluster1, and its end was not reported"}},
		"it has finished":               {assigned(gen.WithHubStatus("Failed")), goesOn, false, nil},
		"somebody else wrote it":        {assigned(gen.WithStatus("Running")), goesOn, false, nil},
		"it was taken from the project": {assigned(gen.WithLabels(map[string]string{contract.LabelEnable: "false"})), unstarted, false, nil},
		"it is said already":            {assigned(gen.WithHubStatus("Running", map[string]any{"message": goesOnThere})), goesOn, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			before := test.wf.DeepCopy()
			assert.Equal(t, test.want, statusOf(test.wf, test.left, test.withoutArgo))
			assert.Equal(t, before, test.wf, "what was read must not change")
		})
	}
}

func TestOptionsThatCannotWorkNameTheFlag(t *testing.T) {
	valid := Options{Timeout: 1}
	require.NoError(t, valid.Validate())
	for flag, change := range map[string]func(*Options){
		"--deployment": func(o *Options) { o.Deployment.Namespace = "only" },
		"--timeout":    func(o *Options) { o.Timeout = 0 },
	} {
		options := valid
		change(&options)
		require.ErrorContains(t, options.Validate(), flag)
		require.ErrorContains(t, Run(t.Context(), nil, options), flag)
	}
}
