package score

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"open-cluster-management.io/argo-workflow-multicluster/pkg/contract"
)

const (
	// unfinishedPods selects the pods that hold what they request.
	unfinishedPods = "status.phase!=" + string(corev1.PodSucceeded) + ",status.phase!=" + string(corev1.PodFailed)
	// unfinishedWorkflows selects those that Argo has not marked as completed.
	unfinishedWorkflows = contract.LabelCompleted + "!=true"
)

// Cluster is what is known of the managed cluster: tables of its nodes, its unfinished pods and its unfinished Workflows, whoever
// made them.
type Cluster struct {
	core     corev1client.CoreV1Interface
	metadata metadata.Interface

	nodes     *table[*corev1.Node, node]
	pods      *table[*corev1.Pod, pod]
	workflows *table[*metav1.PartialObjectMetadata, workflow]
	changed   chan struct{}
}

// NewCluster returns the Cluster that config reaches. Nothing is asked of its API server before it is followed.
func NewCluster(config *rest.Config, httpClient *http.Client, passive clock.PassiveClock) (*Cluster, error) {
	compact := rest.CopyConfig(config)
	compact.AcceptContentTypes, compact.ContentType = runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON, runtime.ContentTypeProtobuf
	core, err := corev1client.NewForConfigAndClient(compact, httpClient)
	if err != nil {
		return nil, fmt.Errorf("create client of nodes and pods: %w", err)
	}
	objects, err := metadata.NewForConfigAndClient(metadata.ConfigFor(config), httpClient)
	if err != nil {
		return nil, fmt.Errorf("create client of Workflows: %w", err)
	}
	changed := make(chan struct{}, 1)
	c := &Cluster{
		core: core, metadata: objects, changed: changed,
		nodes:     newTable("nodes", readNode, passive, changed),
		pods:      newTable("pods", readPod, passive, changed),
		workflows: newTable("workflows", readWorkflow, passive, changed),
	}
	c.workflows.optional = true
	return c, nil
}

func newTable[O metav1.Object, R comparable](
	resource string, read func(O) R, passive clock.PassiveClock, changed chan struct{},
) *table[O, R] {
	return &table[O, R]{resource: resource, read: read, clock: passive, changed: changed, rows: map[types.UID]R{}}
}

// follow keeps the tables up to date by one watch each, until the context is done.
func (c *Cluster) follow(ctx context.Context) {
	var group wait.Group
	group.StartWithContext(ctx, func(ctx context.Context) {
		c.nodes.follow(ctx, source(c.core, c.core.Nodes(), "", ""), &corev1.Node{})
	})
	group.StartWithContext(ctx, func(ctx context.Context) {
		c.pods.follow(ctx, source(c.core, c.core.Pods(metav1.NamespaceAll), unfinishedPods, ""), &corev1.Pod{})
	})
	group.StartWithContext(ctx, func(ctx context.Context) {
		c.workflows.follow(ctx, source(c.metadata, c.metadata.Resource(contract.WorkflowGVR), "", unfinishedWorkflows),
			&metav1.PartialObjectMetadata{})
	})
	group.Wait()
}

// measure returns what the cluster has, or why that is not known: errNotListed as long as nothing is wrong but the first lists are under
// way.
func (c *Cluster) measure() (contract.Capacity, error) {
	c.nodes.mu.Lock()
	defer c.nodes.mu.Unlock()
	c.pods.mu.Lock()
	defer c.pods.mu.Unlock()
	c.workflows.mu.Lock()
	defer c.workflows.mu.Unlock()
	var err error
	for _, doubt := range []error{c.nodes.doubt(), c.pods.doubt(), c.workflows.doubt()} {
		if doubt != nil && (err == nil || errors.Is(err, errNotListed)) {
			err = doubt
		}
	}
	if err != nil {
		return contract.Capacity{}, err
	}
	return measure(c.nodes.rows, c.pods.rows, c.workflows.rows), nil
}

// lists is a client of one kind of object.
type lists[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// source lists and watches the objects that the selectors select.
func source[L runtime.Object](client any, of lists[L], fields, labels string) cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			options.FieldSelector, options.LabelSelector = fields, labels
			return of.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.FieldSelector, options.LabelSelector = fields, labels
			return of.Watch(ctx, options)
		},
	}, client)
}
