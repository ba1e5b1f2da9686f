package steps

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
)

// Templates of the Workflows below. Each pod fails if its parameter code is not 0.
const templates = `
- name: pod
  inputs: {parameters: [{name: code, value: "0"}]}
  metadata: {annotations: {simulated-pod/exit-code: "{{inputs.parameters.code}}"}}
  plugin:
    multicluster:
      cluster: cluster1
      container:
        {image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c], args: ["exit {{inputs.parameters.code}}"]}
- name: long
  metadata: {annotations: {simulated-pod/duration: 10m}}
  plugin:
    multicluster:
      cluster: cluster1
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["600"]}
`

// life is a Workflow with steps in other clusters, and what becomes of it.
type life struct {
	// spec is that of the Workflow, but for the templates above.
	spec string
	// before is done before there is the Workflow, do while it runs, and after when it has ended; nil for nothing.
	before, do, after func(r *room, name string)
	// phase is the one in which it ends, and phases are those of nodes, by display name: with a text that their message has.
	phase  string
	phases map[string]string
	// children is how many Workflows were made for steps.
	children int
}

var lives = map[string]life{
	"each try of a step is a Workflow of its own": {
		spec: `
entrypoint: main
templates:
- name: main
  steps: [[{name: tries, template: tries}]]
- name: tries
  retryStrategy: {limit: "1"}
  metadata: {annotations: {simulated-pod/exit-code: "3"}}
  plugin:
    multicluster:
      cluster: cluster2
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c], args: ["exit 3"]}
`, phase: "Failed", children: 2, phases: map[string]string{"tries(0)": "Failed", "tries(1)": "Failed"},
	},
	"a failed step may be passed over": {
		spec: `
entrypoint: main
onExit: pod
templates:
- name: main
  steps:
  - - {name: bad, template: pod, continueOn: {failed: true}, arguments: {parameters: [{name: code, value: "1"}]}}
  - - {name: skipped, template: pod, when: "{{steps.bad.status}} == Succeeded"}
    - {name: good, template: pod, when: "{{steps.bad.status}} == Failed"}
`, phase: "Succeeded", children: 3, phases: map[string]string{"bad": "Failed", "good": "Succeeded", "skipped": "Skipped"},
	},
	"a hook of a step is a step, too": {
		spec: `
entrypoint: main
templates:
- name: main
  steps: [[{name: one, template: pod, hooks: {exit: {template: pod}}}]]
`, phase: "Succeeded", children: 2, phases: map[string]string{"one": "Succeeded", "one.onExit": "Succeeded"},
	},
	"each item of a list is a run": {
		spec: `
entrypoint: main
templates:
- name: main
  steps: [[{name: list, template: pod, withParam: "[0, 0, 0]", arguments: {parameters: [{name: code, value: "{{item}}"}]}}]]
`, phase: "Succeeded", children: 3, phases: map[string]string{"list(0:0)": "Succeeded", "list(2:0)": "Succeeded"},
	},
	"what is memoized does not run again": {
		before: func(r *room, _ string) { r.letsArgoMemoize() },
		spec: `
entrypoint: main
templates:
- name: main
  steps: [[{name: first, template: remembered}], [{name: second, template: remembered}]]
- name: remembered
  memoize: {key: "{{workflow.namespace}}", cache: {configMap: {name: remembered}}}
  metadata: {annotations: {simulated-pod/output.word: hello}}
  outputs: {parameters: [{name: word, valueFrom: {path: /tmp/word}}]}
  plugin:
    multicluster:
      cluster: cluster1
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c], args: ["printf hello > /tmp/word"]}
`, phase: "Succeeded", children: 1, phases: map[string]string{"first": "Succeeded", "second": "Succeeded"},
	},
	"steps with one mutex run one after the other": {
		spec: `
entrypoint: main
templates:
- name: main
  steps: [[{name: alone, template: alone, withItems: [a, b, c]}]]
- name: alone
  synchronization: {mutexes: [{name: alone}]}
  plugin:
    multicluster:
      cluster: cluster1
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: ["true"]}
`, phase: "Succeeded", children: 3, after: func(r *room, name string) { r.ranInTurn(name) },
	},
	"a volume of the Workflow is refused": {
		spec: `
entrypoint: main
volumeClaimTemplates:
- metadata: {name: work}
  spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}
templates:
- name: main
  dag: {tasks: [{name: one, template: mounts}]}
- name: mounts
  plugin:
    multicluster:
      cluster: cluster1
      container:
        {image: busybox, imagePullPolicy: IfNotPresent, command: ["true"], volumeMounts: [{name: work, mountPath: /work}]}
`, phase: "Error", children: 0, phases: map[string]string{"one": "Error: pass files as artifacts"},
	},
	"pods are removed and protected as the Workflow says": {
		spec: `
entrypoint: main
podGC: {strategy: OnPodCompletion}
podDisruptionBudget: {minAvailable: 1}
templates:
- name: main
  dag: {tasks: [{name: gone, template: pod}, {name: long, template: long, depends: gone}]}
`, phase: "Failed", children: 2,
		do: func(r *room, name string) {
			r.hasChildren(name, 2)
			r.hasOneRunningPod("cluster1")
			r.hasBudget("cluster1")
			r.argo("terminate", name)
		},
	},
	"equal items are two runs": {
		spec: `
entrypoint: main
templates:
- name: main
  steps: [[{name: twice, template: pod, withItems: [same, same]}]]
`, phase: "Succeeded", children: 2,
	},
	"a step ends by its timeout, also if it has not started": {
		spec: `
entrypoint: main
templates:
- name: main
  dag: {failFast: false, tasks: [{name: runs, template: slow}, {name: waits, template: nowhere}]}
- name: slow
  timeout: 5s
  metadata: {annotations: {simulated-pod/duration: 10m}}
  plugin:
    multicluster:
      cluster: cluster1
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["600"]}
- name: nowhere
  timeout: 5s
  plugin:
    multicluster:
      cluster: cluster99
      container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sleep], args: ["600"]}
`, phase: "Failed", children: 2,
		phases: map[string]string{"runs": "Failed", "waits": "Failed"},
	},
	"the Workflow's own deadline holds for its steps": {
		spec: `
entrypoint: long
activeDeadlineSeconds: 5
`, phase: "Failed", children: 1,
	},
	"what is terminated is terminated on the cluster": {
		spec:  "entrypoint: long",
		do:    func(r *room, name string) { r.startsOn("cluster1", name, 1); r.argo("terminate", name) },
		phase: "Failed", children: 1,
	},
	"what is stopped is ended on the cluster, and its exit handler runs": {
		spec:  "entrypoint: long\nonExit: pod",
		do:    func(r *room, name string) { r.startsOn("cluster1", name, 1); r.argo("stop", name) },
		phase: "Failed", children: 2,
	},
	"what is suspended is suspended on the cluster until it is resumed": {
		spec: "entrypoint: main\ntemplates:\n- {name: main, steps: [[{name: one, template: gate}], [{name: two, template: pod}]]}\n" +
			`
- name: gate
  plugin: {multicluster: {cluster: cluster1, workflowTemplateRef: {name: gated}}}
`,
		do: func(r *room, name string) {
			r.stored("cluster1", "gated", "entrypoint: wait\ntemplates: [{name: wait, suspend: {duration: 2s}}]")
			r.argo("suspend", name)
			r.eachChild(name, func(wf *unstructured.Unstructured) error { return wantSuspended(wf, true) })
			r.argo("resume", name)
			r.eachChild(name, func(wf *unstructured.Unstructured) error { return wantSuspended(wf, false) })
		}, phase: "Succeeded", children: 2,
	},
	"a step whose Workflow is deleted has an error": {
		spec: "entrypoint: long",
		do: func(r *room, name string) {
			r.startsOn("cluster1", name, 1)
			for _, child := range r.children(name) {
				r.argo("delete", child.GetName(), "--instanceid", contract.InstanceIDHub)
			}
		}, phase: "Error", children: 0,
	},
	"what nobody could run has an error that says what to do": {
		spec: `
entrypoint: main
volumeClaimTemplates:
- {metadata: {name: work}, spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}}
templates:
- name: main
  dag: {failFast: false, tasks: [{name: both, template: both}, {name: empty, template: empty}, {name: mounts, template: mounts}]}
- name: both
  plugin: {multicluster: {cluster: cluster1, placement: fleet, container: {image: busybox}}}
- name: empty
  plugin: {multicluster: {placement: fleet}}
- name: mounts
  plugin:
    multicluster: {cluster: cluster1, container: {image: busybox, command: [ls], volumeMounts: [{name: work, mountPath: /work}]}}
`, phase: "Error", children: 0, phases: map[string]string{
			"both": "Error: either a cluster or a placement", "empty": "Error: nothing to run", "mounts": "Error: no other cluster has",
		},
	},
	"composites are stored on the cluster": {
		spec: `
entrypoint: main
templates:
- name: main
  steps:
  - - {name: one, template: one, arguments: {parameters: [{name: word, value: hello}]}}
  - - {name: whole, template: whole, arguments: {parameters: [{name: word, value: "{{steps.one.outputs.parameters.said}}"}]}}
- name: one
  inputs: {parameters: [{name: word}]}
  outputs: {parameters: [{name: said, valueFrom: {path: /tmp/said}}]}
  plugin: {multicluster: {cluster: cluster2, templateRef: {name: speech, template: say}}}
- name: whole
  inputs: {parameters: [{name: word}]}
  outputs: {parameters: [{name: said, valueFrom: {path: /tmp/said}}]}
  plugin: {multicluster: {cluster: cluster2, workflowTemplateRef: {name: speech}}}
`, phase: "Succeeded", children: 2, phases: map[string]string{"one": "Succeeded", "whole": "Succeeded"},
		do: func(r *room, _ string) {
			r.stored("cluster2", "speech", `
entrypoint: say
arguments: {parameters: [{name: word}]}
templates:
- name: say
  inputs: {parameters: [{name: word}]}
  outputs: {parameters: [{name: said, valueFrom: {parameter: "{{steps.inner.outputs.parameters.said}}"}}]}
  steps: [[{name: inner, template: inner, arguments: {parameters: [{name: word, value: "{{inputs.parameters.word}}"}]}}]]
- name: inner
  inputs: {parameters: [{name: word}]}
  metadata: {annotations: {simulated-pod/output.said: "{{inputs.parameters.word}}!"}}
  outputs: {parameters: [{name: said, valueFrom: {path: /tmp/said}}]}
  container: {image: busybox, imagePullPolicy: IfNotPresent, command: [sh, -c], args: ["printf {{inputs.parameters.word}}! > /tmp/said"]}
`)
		},
	},
	"more clusters have failed than may": {
		spec: `
entrypoint: main
templates:
- name: main
  dag: {failFast: false, tasks: [{name: none, template: none}, {name: all, template: all}]}
- name: none
  metadata: {annotations: {simulated-pod/exit-code: "1"}}
  plugin: {multicluster: {placement: fleet, all: true, maxFailures: 1, container: {image: busybox, imagePullPolicy: IfNotPresent, command: ["false"]}}}
- name: all
  metadata: {annotations: {simulated-pod/exit-code: "1"}}
  plugin: {multicluster: {placement: fleet, all: true, maxFailures: "100%", container: {image: busybox, imagePullPolicy: IfNotPresent, command: ["false"]}}}
`, phase: "Failed", children: 4, phases: map[string]string{"none": "Failed: failed in 2 of 2 clusters", "all": "Succeeded: of which 2 may fail"},
	},
}

func TestStepsInOtherClustersLiveLikeOthers(t *testing.T) {
	t.Parallel()
	i := 0
	for name, l := range lives {
		i++
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l.live(newRoom(t), fmt.Sprintf("life-%d", i))
		})
	}
}

func (l life) live(r *room, name string) {
	spec := l.spec
	if !strings.Contains(spec, "\ntemplates:") {
		spec += "\ntemplates:"
	}
	if l.before != nil {
		l.before(r, name)
	}
	r.create(name, spec+templates)
	if l.do != nil {
		l.do(r, name)
	}
	wf := r.ends(name, l.phase)
	for displayName, want := range l.phases {
		n := node(r.T, wf, displayName)
		phase, message, _ := strings.Cut(want, ": ")
		assert.Equal(r, phase, n["phase"], displayName)
		assert.Contains(r, fmt.Sprint(n["message"]), message, displayName)
	}
	r.eachChild(name, func(child *unstructured.Unstructured) error {
		if !contract.IsFinished(contract.Phase(child)) {
			return fmt.Errorf("%s is %q", child.GetName(), contract.Phase(child))
		}
		return nil
	})
	assert.Len(r, r.children(name), l.children)
	if l.after != nil {
		l.after(r, name)
	}
	r.leavesNothing(name)
}

// letsArgoMemoize gives the hub's Argo controller the right that Argo's manifests lack, in its own namespace.
func (r *room) letsArgoMemoize() {
	r.Helper()
	meta := metav1.ObjectMeta{Namespace: "argo", Name: "memoize-" + r.namespace}
	require.NoError(r, r.hub.Create(r.Context(), &rbacv1.Role{ObjectMeta: meta, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "create", "update"}},
	}}))
	require.NoError(r, r.hub.Create(r.Context(), &rbacv1.RoleBinding{
		ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: "argo", Name: "argo"}},
	}))
}

// ranInTurn checks that no step began before the one before had ended.
func (r *room) ranInTurn(parent string) {
	r.Helper()
	children := r.children(parent)
	slices.SortFunc(children, func(a, b unstructured.Unstructured) int {
		return a.GetCreationTimestamp().Compare(b.GetCreationTimestamp().Time)
	})
	for i := range children[1:] {
		ended, err := time.Parse(time.RFC3339, fmt.Sprint(contract.Status(&children[i])["finishedAt"]))
		require.NoError(r, err)
		assert.False(r, children[i+1].GetCreationTimestamp().Time.Before(ended), "%s began too early", children[i+1].GetName())
	}
}

// hasChildren waits until so many Workflows were made for steps.
func (r *room) hasChildren(parent string, count int) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		if found := len(r.children(parent)); found != count {
			return fmt.Errorf("%d Workflows for steps", found)
		}
		return nil
	})
}

// hasOneRunningPod waits until that is the only one on the cluster.
func (r *room) hasOneRunningPod(cluster string) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		var pods corev1.PodList
		if err := r.clusters[cluster].List(r.Context(), &pods, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		if len(pods.Items) != 1 || pods.Items[0].Status.Phase != corev1.PodRunning {
			return fmt.Errorf("%d pods on %s", len(pods.Items), cluster)
		}
		return nil
	})
}

// hasBudget waits for the PodDisruptionBudget of a Workflow on the cluster.
func (r *room) hasBudget(cluster string) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		var budgets policyv1.PodDisruptionBudgetList
		if err := r.clusters[cluster].List(r.Context(), &budgets, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		if len(budgets.Items) != 1 {
			return fmt.Errorf("%d PodDisruptionBudgets on %s", len(budgets.Items), cluster)
		}
		return nil
	})
}

// leavesNothing deletes the Workflow, and waits until nothing of it is left on the hub and the clusters.
func (r *room) leavesNothing(name string) {
	r.Helper()
	r.argo("delete", name)
	all := map[string]client.Client{"the hub": r.hub}
	for cluster, c := range r.clusters {
		all[cluster] = c
	}
	for where, c := range all {
		labtest.Eventually(r.T, patience, func() error {
			found := contract.NewWorkflowList()
			if err := c.List(r.Context(), found, client.InNamespace(r.namespace)); err != nil {
				return err
			}
			if len(found.Items) > 0 {
				return fmt.Errorf("%s has %d Workflows, such as %s", where, len(found.Items), found.Items[0].GetName())
			}
			return nil
		})
	}
}

// argo does something to a Workflow, as a user of the hub does.
func (r *room) argo(verb, name string, flags ...string) {
	r.Helper()
	words := append([]string{verb, name, "-n", r.namespace}, flags...)
	labtest.Eventually(r.T, patience, func() error {
		_, err := theLab.Hub().Tool(r.Context(), "argo", words...)
		return err
	})
}

// startsOn waits until so many Workflows of steps run on the cluster.
func (r *room) startsOn(cluster, parent string, count int) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		found := contract.NewWorkflowList()
		if err := r.clusters[cluster].List(r.Context(), found, client.InNamespace(r.namespace)); err != nil {
			return err
		}
		running := 0
		for i := range found.Items {
			if contract.Phase(&found.Items[i]) == contract.PhaseRunning {
				running++
			}
		}
		if running != count {
			return fmt.Errorf("%d Workflows of %s run on %s", running, parent, cluster)
		}
		return nil
	})
}

// eachChild waits until it is true of each Workflow of a step.
func (r *room) eachChild(parent string, is func(*unstructured.Unstructured) error) {
	r.Helper()
	labtest.Eventually(r.T, patience, func() error {
		children := r.children(parent)
		for i := range children {
			if err := is(&children[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func wantSuspended(wf *unstructured.Unstructured, want bool) error {
	if is, _, _ := unstructured.NestedBool(wf.Object, "spec", "suspend"); is != want {
		return fmt.Errorf("suspended is %t", is)
	}
	return nil
}

// stored creates a WorkflowTemplate on a cluster.
func (r *room) stored(cluster, name, spec string) {
	r.Helper()
	template := &unstructured.Unstructured{}
	template.SetGroupVersionKind(contract.WorkflowTemplateGVK)
	template.SetNamespace(r.namespace)
	template.SetName(name)
	var fields map[string]any
	require.NoError(r, yaml.Unmarshal([]byte(spec), &fields))
	template.Object["spec"] = fields
	require.NoError(r, r.clusters[cluster].Create(r.Context(), template))
}

func TestAStepThatIsRetriedRunsOnceMoreAndTheOthersDoNot(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	r.create("again", "entrypoint: main\narguments: {parameters: [{name: code, value: \"1\"}]}\ntemplates:\n"+`
- name: main
  steps:
  - - {name: good, template: pod}
  - - {name: bad, template: pod, arguments: {parameters: [{name: code, value: "{{workflow.parameters.code}}"}]}}
`+templates)
	r.ends("again", "Failed")
	before := uids(r.children("again"))
	assert.Len(t, before, 2)
	_, err := theLab.Hub().Tool(t.Context(), "argo", "retry", "again", "-n", r.namespace, "-p", "code=0")
	require.NoError(t, err)
	r.ends("again", "Succeeded")
	after := uids(r.children("again"))
	assert.Len(t, after, 3, "only the failed step has run again")
	assert.Subset(t, after, before)
}

func uids(workflows []unstructured.Unstructured) []types.UID {
	var out []types.UID
	for i := range workflows {
		out = append(out, workflows[i].GetUID())
	}
	return out
}

func TestAManagerThatIsKilledRunsNoStepTwice(t *testing.T) {
	r := newRoom(t)
	r.create("killed", "entrypoint: main\ntemplates:\n"+`
- name: main
  steps: [[{name: many, template: pod, withSequence: {count: "6"}}], [{name: last, template: pod}]]
`+templates)
	for range 3 {
		require.NoError(t, theLab.Hub().Kill(lab.ManagerProcess))
		require.NoError(t, theLab.StartManager(t.Context()))
	}
	r.ends("killed", "Succeeded")
	assert.Len(t, r.children("killed"), 7)
	found := contract.NewWorkflowList()
	require.NoError(t, r.clusters["cluster1"].List(t.Context(), found, client.InNamespace(r.namespace)))
	assert.Len(t, found.Items, 7)
}
