package steps

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// Not parallel: it needs the whole machine.
func TestSixHundredStepsAtOnceAreSixHundredRuns(t *testing.T) {
	if os.Getenv("STEPS_AT_ONCE") == "" {
		t.Skip("it takes minutes: it runs in make test-steps, which sets STEPS_AT_ONCE")
	}
	const count = 600
	r := newRoom(t)
	began := time.Now()
	r.create("many", fmt.Sprintf("entrypoint: main\ntemplates:\n"+`
- name: main
  steps: [[{name: many, template: anywhere, withSequence: {count: "%d"}}]]
- name: anywhere
  plugin:
    multicluster:
      placement: fleet
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: ["true"]}
`, count))
	wf := contract.NewWorkflow()
	labtest.Eventually(t, 4*patience, func() error {
		err := r.hub.Get(t.Context(), client.ObjectKey{Namespace: r.namespace, Name: "many"}, wf)
		if err == nil && !contract.IsFinished(contract.Phase(wf)) {
			err = fmt.Errorf("it is %q, with %v", contract.Phase(wf), contract.Status(wf)["progress"])
		}
		return err
	})
	require.Equal(t, "Succeeded", contract.Phase(wf))
	t.Logf("%d steps at once have ended after %s", count, time.Since(began).Round(time.Second))
	where := map[string]int{}
	for _, child := range r.children("many") {
		where[contract.AssignedCluster(&child)]++
	}
	t.Logf("where they ran: %v", where)
	assert.Equal(t, count, where["cluster1"]+where["cluster2"])
	assert.Len(t, where, 2)
	r.leavesNothing("many")
}

func TestATaskSetThatEtcdDoesNotTakeIsTold(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.create("large", "entrypoint: main\narguments: {parameters: [{name: text, value: "+strings.Repeat("x", 40<<10)+"}]}\ntemplates:\n"+`
- name: main
  steps:
  - - {name: many, template: large, withSequence: {count: "60"}, arguments: {parameters: [{name: text, value: "{{workflow.parameters.text}}"}]}}
- name: large
  inputs: {parameters: [{name: text}]}
  plugin: {multicluster: {cluster: cluster1, container: {image: busybox, command: ["true"]}}}
`)
	r.isTold("large", "TaskMissing")
	r.argo("terminate", "large")
	r.ends("large", "Failed")
	r.leavesNothing("large")
}
