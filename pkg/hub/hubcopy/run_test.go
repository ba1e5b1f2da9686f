package hubcopy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/apis/workflow/v1alpha1"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubcopy"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestHasStarted(t *testing.T) {
	const agent, feedback = v1alpha1.ReportingAgent, v1alpha1.ReportingFeedback
	erased := func(obj client.Object) { obj.(*unstructured.Unstructured).Object["status"] = nil }
	recorded := gen.WithRemoteUID("remote")
	tests := map[string]struct {
		reporting v1alpha1.Reporting
		wf        []gen.Mod
		rw        []gen.Mod
		want      bool
	}{
		"nothing has been heard of it": {agent, nil, nil, false},
		"it waits":                     {agent, []gen.Mod{gen.WithHubStatus("Pending")}, nil, false},
		"it ran":                       {agent, []gen.Mod{gen.WithHubStatus("Running")}, nil, true},
		"a copy has been recorded":     {agent, nil, []gen.Mod{recorded}, true},
		"a copy has been recorded, and the status is erased": {
			agent,
			[]gen.Mod{gen.WithHubStatus("Running"), erased},
			[]gen.Mod{recorded},
			true,
		},
		"somebody else wrote a phase": {agent, []gen.Mod{gen.WithStatus("Running")}, nil, false},
		"somebody else wrote a phase over the hub's": {
			agent,
			[]gen.Mod{gen.WithHubStatus("Pending"), gen.WithStatus("Succeeded")},
			nil,
			false,
		},
		"without an agent, somebody else wrote a phase": {
			feedback,
			[]gen.Mod{gen.WithHubStatus("Pending"), gen.WithStatus("Running")},
			nil,
			false,
		},
		"without an agent, it ran":                           {feedback, []gen.Mod{gen.WithHubStatus("Running")}, nil, true},
		"without an agent, it ran, and the status is erased": {feedback, []gen.Mod{gen.WithHubStatus("Running"), erased}, nil, true},
		"without an agent, it ran, and somebody wrote otherwise": {
			feedback,
			[]gen.Mod{gen.WithHubStatus("Running"), gen.WithStatus("Pending")},
			nil,
			true,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := gen.Workflow("hello", test.wf...)
			rw := gen.RemoteWorkflow(wf, "cluster1", append(test.rw, gen.WithReporting(test.reporting))...)
			assert.Equal(t, test.want, hubcopy.HasStarted(wf, rw))
		})
	}
}
