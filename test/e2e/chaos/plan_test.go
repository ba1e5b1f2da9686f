package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"open-cluster-management.io/argo-workflow-multicluster/test/lab"
)

// plan is what happens, and when. The same seed makes the same plan.
type plan struct {
	// prefix is how the names of all its Workflows begin, and of all that is made of them.
	prefix    string
	workflows []workflow
	faults    []fault
}

// workflow is one that is created on the hub.
type workflow struct {
	at   time.Duration
	name string
	// run names it and no other, also if the name is used again.
	run   string
	shape shape
	// ttl is set in the field of the Workflow's ttlStrategy that ttlField names; none if that is empty.
	ttl      int64
	ttlField string
	// cluster is chosen directly; the Placement chooses if it is empty. Of a parent, some steps name it.
	cluster string
	// deletedOnHub and deletedOnCluster are how long after its creation somebody deletes it there; never if zero.
	deletedOnHub, deletedOnCluster time.Duration
	// does is what its user does to it on the hub, and when; see users.do.
	does verb
	when time.Duration
}

// verb is what a user does to a Workflow on the hub.
type verb string

const (
	retries  verb = "retry"   // once it has failed, by argo
	stops    verb = "stop"    // as argo does it
	suspends verb = "suspend" // and resumes it two seconds later
)

// shape is what a Workflow does.
type shape string

const (
	short   shape = "short"   // one pod
	long    shape = "long"    // one pod that runs for some seconds
	failing shape = "failing" // one pod that fails
	flaky   shape = "flaky"   // one pod that fails, and another that does not
	dag     shape = "dag"     // four pods, two of them at a time
)

// fault is what becomes of a process or a link, for a while.
type fault struct {
	at, during time.Duration
	kind       faultKind
	// cluster is the number of the cluster in the lab, 0 for the hub.
	cluster int
	// target is the process; empty for a link.
	target string
	link   lab.Link
	how    lab.Disturbance
}

type faultKind string

const (
	kill    faultKind = "kill"    // SIGKILL, and started again
	pause   faultKind = "pause"   // SIGSTOP, and SIGCONT
	disturb faultKind = "disturb" // see lab.Disturbance
	cut     faultKind = "cut"     // the network between the cluster and the hub is down
)

func (f fault) String() string {
	what := fmt.Sprintf("%s %s%s", f.kind, f.target, f.link)
	if f.how != "" {
		what += " " + string(f.how)
	}
	return fmt.Sprintf("%6.1fs %4.1fs cluster %d: %s", f.at.Seconds(), f.during.Seconds(), f.cluster, what)
}

// mix says of what a plan is made.
type mix struct {
	clusters int
	// between is the mean time between two faults.
	between time.Duration
	// realPods is whether there is a network to cut.
	realPods bool
	// harsh is for little that lasts: Workflows with a ttlStrategy or deleted on their cluster, while who looks after them
	// is away.
	harsh bool
}

// What a fault can strike, on the hub and on a managed cluster. OCM's agent is registration and work agent in one. Argo's controllers on
// managed clusters are left alone until all is over: one that is struck may itself leave a Workflow unfinished, and the hub shows just that.
var (
	hubProcesses = []string{
		lab.ManagerProcess, lab.ManagerProcess, lab.ManagerProcess, lab.DeputyProcess, "kube-apiserver", "ocm-registration", "ocm-placement",
		lab.ArgoController,
	}
	managedProcesses = []string{
		lab.AgentProcess, lab.AgentProcess, lab.AgentProcess, lab.KlusterletProcess, lab.KlusterletProcess, "kube-apiserver",
	}
	disturbances = []lab.Disturbance{lab.Refuse, lab.Reset, lab.DropRequests, lab.DropAnswers, lab.CutAnswers, lab.Delay}
)

// newPlan returns the plan of a seed.
func newPlan(seed uint64, workflows, faults int, m mix) plan {
	random := rand.New(rand.NewPCG(seed, 0))
	p := plan{prefix: fmt.Sprintf("w%d-", seed)}
	busy := map[string]time.Duration{}
	if !m.harsh {
		p.faults = burstFaults(random, m.clusters)
	}
	for _, f := range p.faults {
		busy[fmt.Sprint(f.cluster, f.target, f.link)] = f.at + f.during
	}
	end := 2 * time.Second
	for len(p.faults) < faults {
		end += time.Duration(random.ExpFloat64() * float64(m.between))
		f := newFault(random, end, m)
		strikes := fmt.Sprint(f.cluster, f.target, f.link)
		if f.kind == cut {
			strikes = fmt.Sprint(f.cluster, lab.LinkHub)
		}
		if busy[strikes] > f.at {
			continue // one thing at a time
		}
		busy[strikes] = f.at + f.during
		p.faults = append(p.faults, f)
	}
	for i := range workflows {
		wf := newWorkflow(random, m)
		wf.run = fmt.Sprintf("%d-%03d", seed, i)
		wf.name, wf.at = "w"+wf.run, time.Duration(random.Int64N(int64(end)))
		if i%3 == 0 && !m.harsh {
			wf.at = burst + wf.at%(300*time.Millisecond)
		}
		if i > 0 && !m.harsh {
			// The next of that name, which comes while the last one goes; only one, for two would compete.
			if last := p.workflows[i-1]; last.deletedOnHub > 0 && last.name == "w"+last.run {
				wf.name, wf.at = last.name, last.at+last.deletedOnHub
			}
		}
		p.workflows = append(p.workflows, wf)
	}
	p.workflows = append(p.workflows, newParents(random, seed, workflows, end, m)...)
	return p
}

// burst is when a third of the Workflows come at once, so that many are delivered together.
const burst = time.Second

// burstFaults kill the manager and the work agents while the burst is delivered, between whatever two steps that is, and Argo's controller
// on the hub while the parents of the burst run.
func burstFaults(random *rand.Rand, clusters int) []fault {
	faults := []fault{{
		kind: kill, target: lab.ArgoController, at: 2*burst + time.Duration(random.IntN(6000))*time.Millisecond, during: time.Second,
	}}
	for cluster := range clusters + 1 {
		target := lab.KlusterletProcess
		if cluster == 0 {
			target = lab.ManagerProcess
		}
		soon := func() time.Duration { return time.Duration(random.IntN(1500)) * time.Millisecond }
		faults = append(faults, fault{kind: kill, target: target, cluster: cluster, at: burst + soon(), during: soon()})
	}
	return faults
}

func newFault(random *rand.Rand, at time.Duration, m mix) fault {
	f := fault{at: at, during: time.Duration(500+random.IntN(6000)) * time.Millisecond, cluster: random.IntN(m.clusters + 1)}
	if m.harsh {
		return newHarshFault(random, f)
	}
	switch n := random.IntN(10); {
	case n < 3:
		f.kind, f.target = kill, targetOn(random, f.cluster)
	case n < 6:
		f.kind, f.target = pause, targetOn(random, f.cluster)
	case n < 7 && m.realPods && f.cluster > 0:
		f.kind = cut
	default:
		f.kind, f.link, f.how = disturb, lab.LinkOwn, disturbances[random.IntN(len(disturbances))]
		if f.cluster > 0 && random.IntN(3) > 0 {
			f.link = lab.LinkHub
		}
	}
	if f.kind == pause && slices.Contains([]string{lab.ManagerProcess, lab.DeputyProcess}, f.target) && random.IntN(2) == 0 {
		f.during += 18 * time.Second // longer than a leader's lease
	}
	return f
}

// newHarshFault takes away, for longer than the work agents wait, who would keep a run from being lost or begun again.
func newHarshFault(random *rand.Rand, f fault) fault {
	f.during += 6 * time.Second
	f.cluster = max(1, f.cluster)
	switch random.IntN(3) {
	case 0:
		f.kind, f.target = pause, lab.AgentProcess
	case 1:
		f.kind, f.target = kill, lab.AgentProcess
	default:
		f.kind, f.link, f.how = disturb, lab.LinkHub, lab.DropRequests
	}
	return f
}

func targetOn(random *rand.Rand, cluster int) string {
	if cluster == 0 {
		return hubProcesses[random.IntN(len(hubProcesses))]
	}
	return managedProcesses[random.IntN(len(managedProcesses))]
}

func newWorkflow(random *rand.Rand, m mix) workflow {
	shapes := []shape{short, short, short, short, long, long, failing, flaky, dag}
	wf := workflow{shape: shapes[random.IntN(len(shapes))]}
	if random.IntN(2) == 0 {
		wf.cluster = fmt.Sprintf("cluster%d", 1+random.IntN(m.clusters))
	}
	if m.harsh || random.IntN(3) == 0 {
		wf.ttl = []int64{0, 1, 5, 5}[random.IntN(4)]
		wf.ttlField = "secondsAfterCompletion"
		if random.IntN(2) == 0 {
			wf.ttlField = "secondsAfterSuccess"
			if wf.shape == failing {
				wf.ttlField = "secondsAfterFailure"
			}
		}
	}
	after := time.Duration(100+random.IntN(6000)) * time.Millisecond
	switch n := random.IntN(20); {
	case n < 3:
		wf.deletedOnHub = after
	case n < 6:
		wf.deletedOnCluster = after
	case n < 11 && !m.harsh:
		wf.when = after
		wf.does = []verb{stops, suspends}[n%2]
		if wf.shape == failing {
			wf.does, wf.ttlField = retries, "" // what has expired is retried no more
		}
	}
	return wf
}

// want returns the phase in which the Workflow ends if nobody deletes it.
func (wf workflow) want() string {
	if wf.shape == failing {
		return "Failed"
	}
	return "Succeeded"
}
