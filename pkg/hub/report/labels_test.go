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
	all := func(value string, keys ...string) map[string]string {
		labels := map[string]string{}
		for _, key := range keys {
			labels[key] = value
		}
		return labels
	}
	none := map[string]string{}
	argos := []string{"workflows.argoproj.io/completed", "workflows.argoproj.io/x"}
	ours := []string{"workflow.open-cluster-management.io/x", "open-cluster-management.io/x"}
	kubernetes := []string{"app.kubernetes.io/instance", "kubernetes.io/x", "x.k8s.io/y"}
	appliers := []string{"argocd.argoproj.io/instance", "kustomize.toolkit.fluxcd.io/name", "helm.sh/chart", "applyset.kubernetes.io/part-of"}
	invalid, similar := []string{"no key!", "/x", "a/b/c"}, []string{"notk8s.io/x", "k8s.io.example.com/x"}
	tests := map[string]struct {
		spec, stored   map[string]any
		reported, want map[string]string
	}{
		"labels and labelsFrom":            {naming("team", "run"), nil, all("a", "team", "run", "other"), all("a", "team", "run")},
		"with a prefix":                    {naming("example.com/team"), nil, all("a", "example.com/team"), all("a", "example.com/team")},
		"an empty value":                   {naming("team"), nil, all("", "team"), all("", "team")},
		"named by nobody":                  {naming(), nil, all("a", "team"), none},
		"not reported":                     {naming("team"), nil, nil, none},
		"named by the template":            {referring(naming()), naming("team", "run"), all("a", "team", "run"), all("a", "team", "run")},
		"named by what is no template":     {naming(), naming("team"), all("a", "team"), none},
		"a value that is none":             {naming("team"), nil, all("no value!", "team"), none},
		"a value that is too long":         {naming("team"), nil, all(strings.Repeat("x", 64), "team"), none},
		"a key that is none":               {naming(invalid...), nil, all("a", invalid...), none},
		"of Argo":                          {naming(argos...), nil, all("true", argos...), none},
		"of this project":                  {naming(ours...), nil, all("a", ours...), none},
		"of Kubernetes":                    {naming(kubernetes...), nil, all("a", kubernetes...), none},
		"of what applies objects":          {naming(appliers...), nil, all("a", appliers...), none},
		"that only look as if they were":   {naming(similar...), nil, all("a", similar...), all("a", similar...)},
		"of a controller, by the template": {referring(naming()), naming(argos...), all("true", argos...), none},
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
