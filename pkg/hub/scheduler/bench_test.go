package scheduler

import (
	"fmt"
	goruntime "runtime"
	"syscall"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"
	clusterv1beta2 "open-cluster-management.io/api/cluster/v1beta2"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/cluster"
	"open-cluster-management.io/argo-workflow-multicluster/pkg/hub/hubworkflow"
	"open-cluster-management.io/argo-workflow-multicluster/test/gen"
)

// BenchmarkSchedule shows how many decisions a second the scheduler makes, with what goes with each: the queue, the assumption, the
// end of the bind and the event that shows the assignment. Only the API server's part is left out.
func BenchmarkSchedule(b *testing.B) {
	const fleet = 1000
	for _, bm := range []struct {
		name     string
		waiting  int
		usable   bool
		measured bool
	}{
		{"1000 wait", 1000, true, false}, {"10000 wait", 10_000, true, false}, {"100000 wait", 100_000, true, false},
		{"no cluster is usable", 1000, false, false}, {"10000 wait, with figures and caps", 10_000, true, true},
	} {
		b.Run(bm.name, func(b *testing.B) {
			s := fleetOf(b, fleet, bm.usable)
			if bm.measured {
				measureAndLimit(s, fleet)
			}
			decided := 0
			var used time.Duration
			began := usedCPU(b)
			for b.Loop() {
				if s.queue.active.Len() == 0 {
					b.StopTimer()
					used += usedCPU(b) - began
					refill(b, s, bm.waiting)
					goruntime.GC()
					began = usedCPU(b)
					b.StartTimer()
				}
				t, _ := s.next(b.Context())
				if t.cluster == "" {
					s.finish(t, unschedulable)
				} else {
					s.finish(t, assigned)
					s.workflowChanged(t.wf.Unstructured, assignedTo(t.wf, t.cluster))
				}
				decided++
			}
			used += usedCPU(b) - began
			b.ReportMetric(float64(decided)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(decided)/used.Seconds(), "decisions/cpu-s") // what a busy machine does not blur
		})
	}
}

// BenchmarkFull shows what the end of a Workflow costs while every cluster is at its cap, and 10,000 of 100 namespaces wait.
func BenchmarkFull(b *testing.B) {
	const fleet, namespaces, waiting = 1000, 100, 10_000
	s := fleetOf(b, fleet, true)
	s.Recorder = discard{}
	measureAndLimit(s, fleet)
	for i := range fleet {
		name := fmt.Sprintf("cluster-%04d", i)
		s.managedClusterChanged(nil, gen.ManagedCluster(name, limited("1")))
		s.workflowChanged(nil, gen.Workflow("running-"+name, gen.WithAssignment(name), gen.WithHubStatus("Running")))
	}
	for i := range namespaces {
		namespace := fmt.Sprintf("team-%d", i)
		s.cache.setBindings(namespace, []cluster.Binding{{Namespace: namespace, Set: labels.Everything(), MaxWorkflows: 1000}})
		s.placementChanged(nil, gen.Placement("p", gen.InNamespace(namespace)))
		for page := range fleet / 100 {
			var names []string
			for j := range 100 {
				names = append(names, fmt.Sprintf("cluster-%04d", page*100+j))
			}
			s.decisionsChanged(nil, gen.PlacementDecision("p", page, names, gen.InNamespace(namespace)))
		}
	}
	for i := range waiting {
		wf := gen.Workflow(fmt.Sprintf("hello-%d", i), gen.WithPlacement("p"), gen.InNamespace(fmt.Sprintf("team-%d", i%namespaces)),
			created(time.Duration(i)*time.Second))
		s.workflowChanged(nil, wf)
	}
	settle := func() (decisions int) {
		for t, _ := s.next(b.Context()); t != nil; t, _ = s.next(b.Context()) {
			decisions++
			s.finish(t, unschedulable)
		}
		return decisions
	}
	settle()
	decisions := 0
	ended := gen.Workflow("running-cluster-0000", gen.WithAssignment("cluster-0000"), gen.WithHubStatus("Succeeded"))
	running := gen.Workflow("running-cluster-0000", gen.WithAssignment("cluster-0000"), gen.WithHubStatus("Running"))
	for b.Loop() {
		s.workflowChanged(running, ended)
		s.workflowChanged(ended, running) // another has taken the room
		decisions += settle()
	}
	b.ReportMetric(float64(decisions)/float64(b.N), "decisions/end")
}

// usedCPU returns the CPU time of this process.
func usedCPU(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// fleetOf returns a scheduler that knows this many clusters, which one Placement selects in pages of a hundred.
func fleetOf(b *testing.B, clusters int, usable bool) *Scheduler {
	b.Helper()
	scheme := runtime.NewScheme()
	if err := clusterv1beta2.Install(scheme); err != nil {
		b.Fatal(err)
	}
	hub := fake.NewClientBuilder().WithScheme(scheme).WithObjects(gen.ManagedClusterSet(gen.GlobalSet), gen.ManagedClusterSetBinding(gen.GlobalSet, limited("1000000"))).Build()
	s := &Scheduler{Client: hub, Recorder: discard{}, HubID: gen.HubID, Clock: clock.RealClock{}, Concurrency: 1}
	s.init()
	s.placementChanged(nil, gen.Placement("p"))
	var page []string
	for i := range clusters {
		name := fmt.Sprintf("cluster-%04d", i)
		s.managedClusterChanged(nil, gen.ManagedCluster(name, gen.WithAllocatableCPU(fmt.Sprint(4+i%13))))
		if usable {
			s.addonChanged(nil, gen.ManagedClusterAddOn(name))
		}
		if page = append(page, name); len(page) == 100 {
			s.decisionsChanged(nil, gen.PlacementDecision("p", i/100, page))
			page = nil
		}
	}
	return s
}

// measureAndLimit gives each cluster figures, and a cap that is not reached, and the namespace as well.
func measureAndLimit(s *Scheduler, clusters int) {
	for i := range clusters {
		name := fmt.Sprintf("cluster-%04d", i)
		s.managedClusterChanged(nil, gen.ManagedCluster(name, limited("100000")))
		s.scoreChanged(nil, gen.Score(name, gen.Nodes(int64(1+i%13), 4)))
	}
}

// refill lets so many Workflows wait, none of which is anywhere.
func refill(b *testing.B, s *Scheduler, waiting int) {
	b.Helper()
	for uid := range s.cache.places {
		s.cache.put(uid, place{})
	}
	for i := range waiting {
		wf, err := hubworkflow.Trim(gen.Workflow(fmt.Sprintf("hello-%d", i), gen.WithPlacement("p"),
			priority(int64(i%3)), created(time.Duration(i)*time.Second)))
		if err != nil {
			b.Fatal(err)
		}
		known := hubworkflow.Of(wf.(*unstructured.Unstructured))
		s.queue.remove(known.Key())
		s.workflowChanged(nil, known.Unstructured)
	}
}

func assignedTo(wf *hubworkflow.Workflow, cluster string) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{}}
	for key, value := range wf.Object {
		out.Object[key] = value
	}
	metadata := map[string]any{}
	for key, value := range wf.Object["metadata"].(map[string]any) {
		metadata[key] = value
	}
	out.Object["metadata"] = metadata
	gen.WithAssignment(cluster)(out)
	return out
}
