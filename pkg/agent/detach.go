package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// detachTimeout is how long the agent takes at most to release the Workflows when its namespace is being deleted. Its token is
// good for some seconds after its ServiceAccount is gone.
const detachTimeout = 20 * time.Second

// detachment ends the agent's work when its namespace is being deleted. OCM does that when the cluster leaves its hub, and
// runs no pre-delete hook then; that the hub does not answer any more is no sign of it.
type detachment struct {
	kubeClient kubernetes.Interface
	namespace  string
	// release releases the Workflows.
	release func(context.Context) error
}

func newDetachment(managed *rest.Config, options Options) (detachment, error) {
	selected := ReleaseOptions{HubID: options.HubID, ClusterName: options.ClusterName}
	r, kubeClient, err := newReleaser(managed, selected, io.Discard)
	if err != nil {
		return detachment{}, err
	}
	return detachment{kubeClient: kubeClient, namespace: options.Namespace, release: r.run}, nil
}

// run calls work until it returns or the namespace is being deleted. In that case, also if it shows only now that the
// context is done, it releases the Workflows once work has returned, and waits for the end of the context: a process that
// ends would be started again.
func (d detachment) run(ctx context.Context, work func(context.Context) error) error {
	working, stop := context.WithCancel(ctx)
	defer stop()
	go d.watch(working, stop)
	err := work(working)
	stop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), detachTimeout)
	defer cancel()
	// Without an answer there is nothing to be done: whatever has taken the right to ask has taken that to release.
	namespace, getErr := d.kubeClient.CoreV1().Namespaces().Get(last, d.namespace, metav1.GetOptions{})
	if getErr != nil || namespace.DeletionTimestamp == nil {
		return err
	}
	log.FromContext(ctx).Info("the agent's namespace is being deleted: releasing the Workflows", "namespace", d.namespace)
	if releaseErr := d.release(last); releaseErr != nil {
		return errors.Join(err, fmt.Errorf("release the Workflows: %w", releaseErr))
	}
	log.FromContext(ctx).Info("released the Workflows: waiting to be stopped")
	<-ctx.Done()
	return err
}

// watch calls stop when the namespace is being deleted.
func (d detachment) watch(ctx context.Context, stop func()) {
	look := func(obj any) {
		if namespace, ok := obj.(*corev1.Namespace); ok && namespace.Name == d.namespace && namespace.DeletionTimestamp != nil {
			stop()
		}
	}
	informer := informers.NewSharedInformerFactoryWithOptions(d.kubeClient, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, d.namespace).String()
	})).Core().V1().Namespaces().Informer()
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, after any) { look(after) },
	}); err != nil {
		log.FromContext(ctx).Error(err, "cannot watch the agent's namespace", "namespace", d.namespace)
		return
	}
	informer.RunWithContext(ctx)
}
