package podrequests_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/util/json"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/podrequests"
)

func TestTheLargestPodOfAWorkflow(t *testing.T) {
	tests := map[string]struct {
		spec         string
		wantCPU      int64
		wantMemory   int64
		wantIsPlaced bool
	}{
		"nothing":     {spec: `{}`},
		"no requests": {spec: `{"templates":[{"container":{"image":"a"}},{"dag":{}}]}`},
		"a container": {
			spec:    `{"templates":[{"container":{"resources":{"requests":{"cpu":"1500m","memory":"1Gi"}}}}]}`,
			wantCPU: 1500, wantMemory: 1 << 30,
		},
		"each resource is the largest of all templates": {
			spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":2,"memory":"1Mi"}}}},
				{"script":{"resources":{"requests":{"cpu":0.5,"memory":"1Gi"}}}}]}`,
			wantCPU: 2000, wantMemory: 1 << 30,
		},
		"a limit stands in for a missing request": {
			spec:    `{"templates":[{"container":{"resources":{"requests":{"cpu":"1"},"limits":{"cpu":"4","memory":"2Ki"}}}}]}`,
			wantCPU: 1000, wantMemory: 2048,
		},
		"what runs together adds up": {
			spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":"1"}}},"sidecars":[{"resources":{"requests":{"cpu":"2"}}}],
				"initContainers":[{"resources":{"requests":{"cpu":"2500m"}}}]}]}`,
			wantCPU: 3000,
		},
		"what runs before counts if it is larger": {
			spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":"1"}}},
				"initContainers":[{"resources":{"requests":{"cpu":"2"}}},{"resources":{"requests":{"cpu":"1"}}}]}]}`,
			wantCPU: 2000,
		},
		"a container set": {
			spec:    `{"templates":[{"containerSet":{"containers":[{"resources":{"requests":{"cpu":"1"}}},{"resources":{"requests":{"cpu":"1"}}}]}}]}`,
			wantCPU: 2000,
		},
		"what is inline in steps and tasks": {
			spec: `{"templates":[{"steps":[[{"inline":{"container":{"resources":{"requests":{"cpu":"2"}}}}}]]},
				{"dag":{"tasks":[{"inline":{"script":{"resources":{"requests":{"memory":"1Ki"}}},"tolerations":[{}]}}]}}]}`,
			wantCPU: 2000, wantMemory: 1024, wantIsPlaced: true,
		},
		"where a patch may change all, nothing is known": {
			spec: `{"podSpecPatch":"x","templates":[{"container":{"resources":{"requests":{"cpu":"1"}}},"tolerations":[{}]}]}`, wantIsPlaced: true,
		},
		"nor where the defaults have it": {
			spec: `{"templateDefaults":{"podSpecPatch":{}},"templates":[{"container":{"resources":{"requests":{"cpu":"1"}}}}]}`,
		},
		"of a template that patches its pod, nothing is known": {
			spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":"5"}}},"podSpecPatch":"x"},
				{"container":{"resources":{"requests":{"cpu":"1"}}}}]}`,
			wantCPU: 1000,
		},
		"a default request comes before a limit": {
			spec: `{"templateDefaults":{"container":{"resources":{"requests":{"cpu":"1"},"limits":{"memory":"1Ki"}}}},
				"templates":[{"container":{"resources":{"limits":{"cpu":"4"}}}}]}`,
			wantCPU: 1000, wantMemory: 1024,
		},
		"the template's defaults": {
			spec:    `{"templateDefaults":{"container":{"resources":{"requests":{"cpu":"3"}}}},"templates":[{"container":{"image":"a"}}]}`,
			wantCPU: 3000,
		},
		"a template tolerates taints":       {spec: `{"templates":[{"tolerations":[{"operator":"Exists"}]}]}`, wantIsPlaced: true},
		"the Workflow tolerates taints":     {spec: `{"tolerations":[{"operator":"Exists"}]}`, wantIsPlaced: true},
		"by its defaults it does":           {spec: `{"templateDefaults":{"tolerations":[{"operator":"Exists"}]}}`, wantIsPlaced: true},
		"what is no quantity is no request": {spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":"lots","memory":true}}}}]}`},
		"nor what is negative":              {spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":"-1","memory":-5}}}}]}`},
		"nor what is endless": {
			spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":"` + strings.Repeat("9", 10_000) + `","memory":1e300}}}}]}`,
		},
		"nor what would keep the parser busy": {
			spec: `{"templates":[{"container":{"resources":{"requests":{"cpu":"1e2147483647","memory":"1e10000000"}}}},
				{"container":{"resources":{"limits":{"cpu":"1E-2147483648","memory":"99999999999999999999e99"}}}}]}`,
		},
		"exponents count": {
			spec:    `{"templates":[{"container":{"resources":{"requests":{"cpu":"2e0","memory":"1E3"}}}}]}`,
			wantCPU: 2000, wantMemory: 1000,
		},
		"an absurd one is bounded": {
			spec:    `{"templates":[{"container":{"resources":{"requests":{"cpu":"9E","memory":"9E"}}}}]}`,
			wantCPU: 1 << 45, wantMemory: 1 << 45,
		},
		"nothing is what it should be": {
			spec: `{"tolerations":"x","templateDefaults":7,"templates":[3,null,{"container":[],"script":{"resources":1},"sidecars":{},
				"containerSet":{"containers":"x"},"steps":[1,[2]],"dag":{"tasks":[null,{"inline":4}]}}]}`,
		},
		"the templates are no list": {spec: `{"templates":{"a":1}}`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var spec map[string]any
			require.NoError(t, json.Unmarshal([]byte(test.spec), &spec))
			pods := podrequests.Of(spec)
			assert.Equal(t, contract.Resources{MilliCPU: test.wantCPU, Memory: test.wantMemory, Pods: 1}, pods.Largest)
			assert.Equal(t, test.wantIsPlaced, pods.IsPlaced)
			assert.Equal(t, pods, podrequests.Read(pods.Value()))
		})
	}
}
