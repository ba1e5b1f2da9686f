package report

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

func TestOnlyLabelsThatTheSpecNamesAreTaken(t *testing.T) {
	naming := func(keys ...string) map[string]any {
		labels, from := map[string]any{}, map[string]any{}
		for i, key := range keys {
			if i%2 == 0 {
				labels[key] = "x"
			} else {
				from[key] = map[string]any{"expression": "x"}
			}
		}
		return map[string]any{"workflowMetadata": map[string]any{"labels": labels, "labelsFrom": from}}
	}
	referring := func(spec map[string]any) map[string]any {
		spec["workflowTemplateRef"] = map[string]any{"name": "train"}
		return spec
	}
	tests := map[string]struct {
		spec, stored map[string]any
		reported     map[string]string
		want         map[string]string
	}{
		"labels and labelsFrom":            {naming("team", "run"), nil, map[string]string{"team": "a", "run": "b", "other": "c"}, map[string]string{"team": "a", "run": "b"}},
		"with a prefix":                    {naming("example.com/team"), nil, map[string]string{"example.com/team": "a"}, map[string]string{"example.com/team": "a"}},
		"an empty value":                   {naming("team"), nil, map[string]string{"team": ""}, map[string]string{"team": ""}},
		"named by nobody":                  {naming(), nil, map[string]string{"team": "a"}, nil},
		"not reported":                     {naming("team"), nil, nil, nil},
		"named by the template":            {referring(naming()), naming("team", "run"), map[string]string{"team": "a", "run": "b"}, map[string]string{"team": "a", "run": "b"}},
		"named by what is no template":     {naming(), naming("team"), map[string]string{"team": "a"}, nil},
		"a value that is none":             {naming("team"), nil, map[string]string{"team": "no value!"}, nil},
		"a value that is too long":         {naming("team"), nil, map[string]string{"team": strings.Repeat("x", 64)}, nil},
		"a key that is none":               {naming("no key!", "/x", "a/b/c"), nil, map[string]string{"no key!": "a", "/x": "a", "a/b/c": "a"}, nil},
		"of Argo":                          {naming("workflows.argoproj.io/completed", "workflows.argoproj.io/x"), nil, map[string]string{"workflows.argoproj.io/completed": "true", "workflows.argoproj.io/x": "a"}, nil},
		"of this project":                  {naming("workflow.open-cluster-management.io/x"), nil, map[string]string{"workflow.open-cluster-management.io/x": "a"}, nil},
		"of Kubernetes":                    {naming("app.kubernetes.io/instance", "kubernetes.io/x", "x.k8s.io/y"), nil, map[string]string{"app.kubernetes.io/instance": "a", "kubernetes.io/x": "a", "x.k8s.io/y": "a"}, nil},
		"of what applies objects":          {naming("argocd.argoproj.io/instance", "kustomize.toolkit.fluxcd.io/name", "helm.sh/chart", "applyset.kubernetes.io/part-of"), nil, map[string]string{"argocd.argoproj.io/instance": "a", "kustomize.toolkit.fluxcd.io/name": "a", "helm.sh/chart": "a", "applyset.kubernetes.io/part-of": "a"}, nil},
		"that only look as if they were":   {naming("notk8s.io/x", "k8s.io.example.com/x"), nil, map[string]string{"notk8s.io/x": "a", "k8s.io.example.com/x": "b"}, map[string]string{"notk8s.io/x": "a", "k8s.io.example.com/x": "b"}},
		"of a controller, by the template": {referring(naming()), naming("workflows.argoproj.io/completed"), map[string]string{"workflows.argoproj.io/completed": "true"}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			wf := assigned()
			wf.Object["spec"] = test.spec
			status := running()
			if test.stored != nil {
				status["storedWorkflowTemplateSpec"] = test.stored
			}
			taken, refusal := Take(gen.RemoteWorkflow(wf, cluster, gen.WithReport(status)), test.reported, runOf(wf))
			assert.Nil(t, refusal)
			if test.want == nil {
				test.want = map[string]string{}
			}
			assert.Equal(t, test.want, taken.Labels)
		})
	}
}

func TestLabelsAreTakenWithASummaryToo(t *testing.T) {
	wf := assigned()
	wf.Object["spec"] = richSpec()
	rw := gen.RemoteWorkflow(wf, cluster, gen.WithReport(map[string]any{"phase": "Failed"}))
	rw.Status.Report.Data = nil
	taken, refusal := Take(rw, map[string]string{"team": "a", "other": "b"}, runOf(wf))
	assert.Nil(t, refusal)
	assert.Equal(t, map[string]string{"team": "a"}, taken.Labels)
}

func TestTheNumberOfLabelsIsBounded(t *testing.T) {
	keys, reported := map[string]bool{}, map[string]string{}
	for i := range 2 * maxLabels {
		keys[fmt.Sprint("key-", i)], reported[fmt.Sprint("key-", i)] = true, "a"
	}
	taken := restrictLabels(reported, nil, SpecView{labels: keys})
	assert.Len(t, taken, maxLabels)
	assert.Equal(t, taken, restrictLabels(reported, nil, SpecView{labels: keys}), "always the same")
}
