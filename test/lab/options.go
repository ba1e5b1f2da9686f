package lab

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
)

// PodMode says who runs the pods of Workflows.
type PodMode string

const (
	// PodsAuto takes real pods where this machine can run them, and simulated ones elsewhere.
	PodsAuto PodMode = "auto"
	// PodsReal runs pods with containerd and kubelet; it needs root on Linux.
	PodsReal PodMode = "real"
	// PodsSimulated lets the pod runner (package podrunner) play the pods; nothing is executed. Anyone can use it.
	PodsSimulated PodMode = "simulated"
)

// HubArgoPlain is the value of Options.HubArgo for an Argo controller without an instance id.
const HubArgoPlain = "plain"

// Options say what a lab consists of. The zero value is a hub with two managed clusters.
type Options struct {
	// Name tells labs on one machine apart; "default" if empty.
	Name string
	// Dir holds everything that the lab writes; <repository>/.lab/<name> if empty.
	Dir string
	// Clusters is the number of managed clusters, named cluster1, cluster2, …; 2 if zero.
	Clusters int
	// Pods says who runs pods; PodsAuto if empty.
	Pods PodMode
	// HubArgo starts an Argo controller on the hub: HubArgoPlain for one without instance id, any other
	// value is its instance id, empty for none.
	HubArgo string
	// WithoutArgo names the managed clusters that get neither Argo's CRDs nor its controller.
	WithoutArgo []string
	// NoArgoController leaves Argo's controller out on every managed cluster; its CRDs are installed.
	NoArgoController bool
	// ProductPods leaves it to the product's chart and addons to run the manager, the agents and Argo, in pods: the hub
	// gets a node, and the managed clusters get no Argo from the lab. Without real pods it changes nothing.
	ProductPods bool
	// StatusSyncInterval is how often OCM's work agent polls for feedback; OCM's default (10s) if zero.
	StatusSyncInterval time.Duration
	// WorkResync is how often OCM's work agent applies a ManifestWork again without a cause; OCM's default
	// (4 minutes, jittered to 6) if zero.
	WorkResync time.Duration
	// Audit makes the API servers write audit logs; see Cluster.AuditLog.
	Audit bool
	// Chaos makes the ways to the API servers such that a test can disturb them, see Cluster.Disturb, keeps every version of
	// every object, see Cluster.History, and lets pods tell what they do, see Lab.Journal.
	Chaos bool
	// S3 starts an object store on the hub, for artifacts of Workflows of all clusters; see Lab.S3.
	S3 bool
	// HubJoins has the hub join itself, as the managed cluster LocalCluster; the product comes there as a process.
	HubJoins bool
	// Shares is the folder of another lab, with simulated pods, whose managed clusters this lab's hub manages as well; it has none of its
	// own, and OCM is on each of them twice.
	Shares string
	// Progress receives a line for each step; nothing is printed if nil.
	Progress io.Writer `json:"-"`
}

// complete fills in the defaults, for a lab whose repository is at root.
func (o Options) complete(root string) (Options, error) {
	if o.Name == "" {
		o.Name = "default"
	}
	if errs := validation.IsDNS1123Label(o.Name); len(errs) > 0 {
		return o, fmt.Errorf("name %q: %s", o.Name, strings.Join(errs, ", "))
	}
	if o.Dir == "" {
		o.Dir = filepath.Join(root, ".lab", o.Name)
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return o, fmt.Errorf("folder of the lab: %w", err)
	}
	o.Dir = dir
	if o.Clusters == 0 {
		o.Clusters = 2
	}
	switch {
	case o.Shares != "" && o.Pods != PodsReal:
		o.Pods = PodsSimulated
	case o.Pods == "":
		o.Pods = PodsAuto
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o, o.validate()
}

func (o Options) validate() error {
	switch {
	case o.Clusters < 0 || o.Clusters > 50:
		return fmt.Errorf("%d managed clusters: want 1 to 50", o.Clusters)
	case !slices.Contains([]PodMode{PodsAuto, PodsReal, PodsSimulated}, o.Pods):
		return fmt.Errorf("pods %q: want auto, real or simulated", o.Pods)
	case o.WorkResync < 0 || o.StatusSyncInterval < 0:
		return errors.New("intervals must not be negative")
	case o.Shares != "" && o.Pods == PodsReal:
		return errors.New("clusters with real pods cannot be shared")
	case o.HubJoins && (o.Shares != "" || o.Chaos || o.ProductPods):
		return errors.New("a hub that joins itself has clusters of its own, no chaos, and the product as processes")
	}
	for _, name := range o.WithoutArgo {
		if !slices.Contains(o.managedNames(), name) {
			return fmt.Errorf("without Argo: there is no managed cluster %q", name)
		}
	}
	return nil
}

// managedNames lists the names of the managed clusters.
func (o Options) managedNames() []string {
	names := make([]string, o.Clusters)
	for i := range names {
		names[i] = fmt.Sprintf("cluster%d", i+1)
	}
	return names
}

// over returns the options of a running lab where o leaves a choice open, and an error where o asks for
// something else: a lab does not change its shape while it is up.
func (o Options) over(running Options) (Options, error) {
	merged := running
	merged.Progress = o.Progress
	asked, have := reflect.ValueOf(o), reflect.ValueOf(running)
	for i := range asked.NumField() {
		name := asked.Type().Field(i).Name
		if name == "Progress" || asked.Field(i).IsZero() || name == "Pods" && o.Pods == PodsAuto {
			continue
		}
		if !reflect.DeepEqual(asked.Field(i).Interface(), have.Field(i).Interface()) {
			return o, fmt.Errorf("the lab in %s is there with %s %v, not %v: take it down first",
				running.Dir, name, have.Field(i).Interface(), asked.Field(i).Interface())
		}
	}
	return merged, nil
}
