package capacity

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	clusterv1alpha1 "open-cluster-management.io/api/cluster/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/labtest"
	"open-cluster-management.io/argo-workflow-multicluster/test/lab/podrunner"
)

const (
	// patience is how long what must happen may take on a busy machine.
	patience = 5 * time.Minute
	// seconds is how soon the hub must know that a cluster is busy, or is no more.
	seconds = 15 * time.Second
	// Each Workflow requests a tenth of a core, and each core comes with memory and pods for ten of them.
	requestedCPU, requestedMemory = "100m", "200Mi"
)

// cores are the sizes of the managed clusters.
var cores = map[string]int64{"cluster1": 8, "cluster2": 16, "cluster3": 24}

// fleet is the lab, with an administrator's access.
type fleet struct {
	t       *testing.T
	hub     client.Client
	managed map[string]client.Client
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	scheme, err := hub.Scheme()
	require.NoError(t, err)
	access := func(c *lab.Cluster) client.Client {
		config, err := c.Config()
		require.NoError(t, err)
		out, err := client.New(config, client.Options{Scheme: scheme})
		require.NoError(t, err)
		return out
	}
	f := &fleet{t: t, hub: access(theLab.Hub()), managed: map[string]client.Client{}}
	for _, c := range theLab.Managed() {
		f.managed[c.Name] = access(c)
	}
	return f
}

// workflows is how many are created at once.
func workflows(t *testing.T) int {
	t.Helper()
	value := os.Getenv("CAPACITY_WORKFLOWS")
	if value == "" {
		return 60
	}
	count, err := strconv.Atoi(value)
	require.NoError(t, err)
	return count
}

// resize gives the simulated node of each cluster its size.
func (f *fleet) resize() {
	f.t.Helper()
	for name, count := range cores {
		amounts := fmt.Sprintf(`{"cpu":"%d","memory":"%dGi","pods":"%d"}`, count, 2*count, 10*count)
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"status":{"capacity":%s,"allocatable":%s}}`, amounts, amounts))
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: podrunner.NodeName}}
		require.NoError(f.t, f.managed[name].Status().Patch(f.t.Context(), node, patch))
		f.awaitFree(name, count)
	}
}

// awaitFree waits until the hub knows that a cluster has so many cores free, but for a twentieth of its size: less is told once a minute.
func (f *fleet) awaitFree(name string, count int64) {
	f.t.Helper()
	labtest.Eventually(f.t, seconds, func() error {
		score := &clusterv1alpha1.AddOnPlacementScore{}
		if err := f.hub.Get(f.t.Context(), client.ObjectKey{Namespace: name, Name: contract.ScoreName}, score); err != nil {
			return err
		}
		measured := meta.FindStatusCondition(score.Status.Conditions, contract.ConditionMeasured)
		if measured == nil || measured.Status != metav1.ConditionTrue {
			return fmt.Errorf("%s is not measured: %v", name, measured)
		}
		capacity, err := contract.ReadCapacity(measured.Message)
		if err != nil {
			return err
		}
		if off := capacity.Free.MilliCPU - 1000*count; max(off, -off) > 1000*cores[name]/20 || capacity.Allocatable.MilliCPU != 1000*cores[name] {
			return fmt.Errorf("of %s, %+v is free", name, capacity.Free)
		}
		return nil
	})
}

// occupy runs a pod on a cluster that requests so many cores, and all that comes with them.
func (f *fleet) occupy(name string, count int64) *corev1.Pod {
	f.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: gen.Namespace, Name: "busy"},
		Spec: corev1.PodSpec{NodeName: podrunner.NodeName, Containers: []corev1.Container{{
			Name: "main", Image: "busy", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU:    *resource.NewQuantity(count, resource.DecimalSI),
				corev1.ResourceMemory: *resource.NewQuantity(2*count<<30, resource.BinarySI),
			}},
		}}},
	}
	require.NoError(f.t, f.managed[name].Create(f.t.Context(), pod))
	f.awaitFree(name, cores[name]-count)
	return pod
}

// burst lets so many Workflows wait for a Placement, creates it, waits until each has a cluster, and returns how many each cluster has.
// Creating them takes longer than one of them runs: without that wait the first would have ended before the last has a cluster.
func (f *fleet) burst(prefix string, count int, duration time.Duration) map[string]int {
	f.t.Helper()
	names := map[string]bool{}
	for i := range count {
		wf := f.create(fmt.Sprintf("%s-%d", prefix, i), prefix, duration)
		names[wf.GetName()] = true
	}
	require.NoError(f.t, f.hub.Create(f.t.Context(), gen.Placement(prefix)))
	on := map[string]int{}
	labtest.Eventually(f.t, patience, func() error {
		clear(on)
		list := contract.NewWorkflowList()
		if err := f.hub.List(f.t.Context(), list, client.InNamespace(gen.Namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			if wf := &list.Items[i]; names[wf.GetName()] {
				on[contract.AssignedCluster(wf)]++
			}
		}
		if waiting := on[""]; waiting > 0 {
			return fmt.Errorf("%d wait", waiting)
		}
		return nil
	})
	return on
}

func (f *fleet) create(name, placement string, duration time.Duration) *unstructured.Unstructured {
	f.t.Helper()
	wf := gen.Workflow(name, gen.WithPlacement(placement), gen.WithSpecField([]any{map[string]any{
		"name":     "main",
		"metadata": map[string]any{"annotations": map[string]any{podrunner.AnnotationDuration: duration.String()}},
		"container": map[string]any{"image": "busybox", "command": []any{"true"}, "resources": map[string]any{
			"requests": map[string]any{"cpu": requestedCPU, "memory": requestedMemory},
		}},
	}}, "templates"))
	require.NoError(f.t, f.hub.Create(f.t.Context(), wf))
	return wf
}

// end waits until all Workflows have succeeded, deletes them, and waits until nothing is left.
func (f *fleet) end() {
	f.t.Helper()
	list := contract.NewWorkflowList()
	labtest.Eventually(f.t, patience, func() error {
		if err := f.hub.List(f.t.Context(), list, client.InNamespace(gen.Namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			if phase := contract.Phase(&list.Items[i]); contract.IsFinished(phase) {
				require.Equal(f.t, "Succeeded", phase)
			} else {
				return fmt.Errorf("%s is %q: %s", list.Items[i].GetName(), phase, contract.StatusString(contract.Status(&list.Items[i]), "message"))
			}
		}
		return nil
	})
	for i := range list.Items {
		require.NoError(f.t, client.IgnoreNotFound(f.hub.Delete(f.t.Context(), &list.Items[i])))
	}
	labtest.Eventually(f.t, patience, func() error {
		if err := f.hub.List(f.t.Context(), list, client.InNamespace(gen.Namespace)); err != nil || len(list.Items) == 0 {
			return err
		}
		return fmt.Errorf("%d Workflows are left", len(list.Items))
	})
}

func TestWorkflowsGoWhereThereIsRoom(t *testing.T) {
	f, count := newFleet(t), workflows(t)
	require.NoError(t, client.IgnoreAlreadyExists(f.hub.Create(t.Context(), gen.ManagedClusterSetBinding(gen.GlobalSet))))
	f.resize()

	on := f.burst("spread", count, 5*time.Second)
	t.Logf("%d Workflows on clusters of 8, 16 and 24 cores: %v", count, on)
	for name, size := range cores {
		share := float64(count) * float64(size) / 48
		assert.InDelta(t, share, on[name], share/10+1, name)
	}
	f.end()
	for name, size := range cores {
		f.awaitFree(name, size)
	}

	full := f.occupy("cluster2", 16)
	f.occupy("cluster3", 16)
	on = f.burst("busy", count/2, 5*time.Second)
	t.Logf("%d Workflows, with cluster2 full and two thirds of cluster3 in use: %v", count/2, on)
	assert.Zero(t, on["cluster2"], "what is full gets none")
	assert.Greater(t, on["cluster1"], on["cluster3"], "what is busy gets less than its size would let it have")
	f.end()

	require.NoError(t, f.managed["cluster2"].Delete(t.Context(), full, client.GracePeriodSeconds(0)))
	freed := time.Now()
	f.awaitFree("cluster2", cores["cluster2"])
	assert.Equal(t, map[string]int{"cluster2": 1}, f.burst("freed", 1, time.Second), "what is free again is the first choice")
	t.Logf("cluster2 was free again, and had the next Workflow, after %s", time.Since(freed).Round(100*time.Millisecond))
	f.end()
}

func TestNothingExceedsTheCaps(t *testing.T) {
	f := newFleet(t)
	caps := map[string]int{"cluster1": 3, "cluster2": 2, "cluster3": 1}
	for name, limit := range caps {
		f.annotate(gen.ManagedCluster(name), fmt.Sprintf("%q", strconv.Itoa(limit)))
	}
	f.burst("capped", workflows(t)/2, 500*time.Millisecond)
	f.end()
	most := f.mostUnfinished("capped")
	t.Logf("the most unfinished Workflows at a time: %v", most)
	assert.Equal(t, caps, most)
	for name := range caps {
		f.annotate(gen.ManagedCluster(name), "null")
	}

	f.annotate(gen.ManagedClusterSetBinding(gen.GlobalSet), `"4"`)
	f.burst("shared", workflows(t)/2, 500*time.Millisecond)
	f.end()
	most = f.mostUnfinished("shared")
	t.Logf("of a namespace with a cap of 4, the most unfinished Workflows at a time: %v", most)
	assert.Equal(t, 4, most["all"])
	f.annotate(gen.ManagedClusterSetBinding(gen.GlobalSet), "null")
}

// annotate sets the cap, which is JSON.
func (f *fleet) annotate(object client.Object, limit string) {
	f.t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, contract.AnnotationMaxWorkflows, limit)
	require.NoError(f.t, f.hub.Patch(f.t.Context(), object, client.RawPatch(types.MergePatchType, patch)))
}

// mostUnfinished returns how many of these Workflows were assigned and unfinished at most at a time, on each cluster and, if there was a
// cap of the namespace, on all; by what etcd has ever stored.
func (f *fleet) mostUnfinished(prefix string) map[string]int {
	f.t.Helper()
	versions, err := theLab.Hub().History(f.t.Context(), "argoproj.io/workflows")
	require.NoError(f.t, err)
	on, now, most := map[string]string{}, map[string]int{}, map[string]int{}
	isShared := prefix == "shared"
	for _, version := range versions {
		if !strings.Contains(version.Key, "/"+prefix+"-") {
			continue
		}
		at := ""
		if version.Value != nil {
			wf := contract.NewWorkflow()
			require.NoError(f.t, json.Unmarshal(version.Value, &wf.Object))
			if !contract.IsFinished(contract.Phase(wf)) {
				at = contract.AssignedCluster(wf)
			}
		}
		if at != "" && isShared {
			at = "all"
		}
		if was := on[version.Key]; was != at {
			now[was]--
			now[at]++
			on[version.Key] = at
			most[at] = max(most[at], now[at])
		}
	}
	delete(most, "")
	return most
}
